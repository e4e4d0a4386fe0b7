"""A progress bar that shows what an ensemble has left standing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str, float, float], None]


@contextmanager
def standing_bar(total: int, *, shown: bool) -> Iterator[Advance]:
    """Shows how far an evaluation has come.

    Args:
        total: Number of attacks.
        shown: Whether to show anything.

    Yields:
        A function to call with the name of the attack at work, how many attacks are done, and the robust accuracy so
        far.
    """
    if not shown:
        yield lambda name, done, accuracy: None
        return
    from rich.progress import Progress

    with Progress() as display:
        task = display.add_task("attacks", total=total)

        def advance(name: str, done: float, accuracy: float) -> None:
            display.update(task, completed=done, description=f"{name}: {accuracy:.1%} stand")

        yield advance
