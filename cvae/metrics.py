"""Training records as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from cvae.files import append, atomic_file

Record = dict[str, int | float]


class MetricLog:
    """Records of a training run, in memory and, if a file is given, one JSON object a line.

    Args:
        file: Where the lines go; ``None`` keeps them in memory only.
        until: Records after this step are dropped from an existing file: a run that was killed and
            continues from a checkpoint writes them anew.
    """

    def __init__(self, file: Path | None, until: int = 0) -> None:
        self.file = file
        self.records: list[Record] = []
        if file is not None:
            self.records = [record for record in read_records(file) if record["step"] <= until]
            with atomic_file(file) as temporary:
                temporary.write_text("".join(json.dumps(record) + "\n" for record in self.records))

    def add(self, record: Record) -> None:
        """Appends a record, on disk at once."""
        self.records.append(record)
        if self.file is not None:
            append(self.file, json.dumps(record) + "\n")


def read_records(file: Path) -> list[Record]:
    """The records of a file, up to a last line that a kill cut short; none if there is no file."""
    records: list[Record] = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
