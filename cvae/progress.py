"""A progress bar that shows the newest loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cvae.metrics import Record


@contextmanager
def progress_bar(title: str, total: int, start: int, *, shown: bool) -> Iterator[Callable[[int, list[Record]], None]]:
    """Shows how far a training has come.

    Args:
        title: What is being trained.
        total: Number of steps.
        start: Steps done before.
        shown: Whether to show anything.

    Yields:
        A function to call with the steps done and the records so far.
    """
    if not shown:
        yield lambda step, records: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[newest]}"),
    )
    with Progress(*columns) as display:
        task = display.add_task(title, total=total, completed=start, newest="")

        def advance(step: int, records: list[Record]) -> None:
            if records and "loss" in records[-1]:
                display.update(task, newest=f"loss {records[-1]['loss']:.4g}")
            display.update(task, completed=step)

        yield advance
