"""Records of a training as JSON lines, and progress bars."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from cvae.files import append, atomic_file

Record = dict[str, int | float]

EVERY = 30.0
"""Seconds between two lines of progress in the log of a job."""


class Progress(rich.progress.Progress):
    """The bars of rich; where the output is no terminal, lines at intervals."""

    def start(self) -> None:
        """Begins to show the bars."""
        super().start()
        self._ended = threading.Event()
        if not self.disable and not self.console.is_terminal:
            threading.Thread(target=self._log, daemon=True).start()

    def stop(self) -> None:
        """Ends."""
        self._ended.set()
        super().stop()

    def _log(self) -> None:
        while not self._ended.wait(EVERY):
            for task in self.tasks:
                share = "" if task.total is None else f" {task.completed:,.0f} of {task.total:,.0f},"
                newest = task.fields.get("newest", "")
                self.console.print(f"{task.description}:{share} {task.elapsed or 0:,.0f} s {newest}".rstrip())


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
def busy(title: str, console: Console) -> Iterator[None]:
    """Shows that something of unknown length is under way."""
    with Progress(console=console, transient=True) as display:
        display.add_task(title, total=None)
        yield


@contextmanager
def progress_bar(title: str, total: int, start: int, *, shown: bool) -> Iterator[Callable[[int, list[Record]], None]]:
    """Shows how far a training has come, and its newest loss: yields a function of the steps done and the records."""
    if not shown:
        yield lambda step, records: None
        return
    title_column, newest_column = TextColumn("{task.description}"), TextColumn("{task.fields[newest]}")
    with Progress(title_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), newest_column) as display:
        task = display.add_task(title, total=total, completed=start, newest="")

        def advance(step: int, records: list[Record]) -> None:
            if records and "loss" in records[-1]:
                display.update(task, newest=f"loss {records[-1]['loss']:.4g}")
            display.update(task, completed=step)

        yield advance
