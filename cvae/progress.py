"""Records of a training as JSON lines, and its progress bar."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cvae.files import append, atomic_file

Record = dict[str, int | float]


class MetricLog:
    """Records of a training, in memory and, if a file is given, one JSON object a line.

    Records of an existing file after step `until` are dropped: a run that continues from a checkpoint writes them anew.
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
    """The records of a file, without a last line that a kill cut short; none if there is no file."""
    records: list[Record] = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


@contextmanager
def progress_bar(title: str, total: int, start: int, *, shown: bool) -> Iterator[Callable[[int, list[Record]], None]]:
    """Shows how far a training has come, and its newest loss: yields a function of the steps done and the records."""
    if not shown:
        yield lambda step, records: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    title_column, newest_column = TextColumn("{task.description}"), TextColumn("{task.fields[newest]}")
    with Progress(title_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), newest_column) as display:
        task = display.add_task(title, total=total, completed=start, newest="")

        def advance(step: int, records: list[Record]) -> None:
            if records and "loss" in records[-1]:
                display.update(task, newest=f"loss {records[-1]['loss']:.4g}")
            display.update(task, completed=step)

        yield advance
