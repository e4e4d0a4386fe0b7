"""What the commands of the command line share: how much is printed, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer


@dataclass
class Printing:
    """Whether to print nothing but errors, and whether to print their tracebacks."""

    quiet: bool = False
    verbose: bool = False


printing = Printing()
"""As the options of this call of the program say."""


@contextmanager
def errors_in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """Errors that the user can correct end the program with status 2 and one line, an interruption with 130.

    Args:
        kinds: Classes of such errors, beside ``ValueError`` and ``OSError``.
    """
    correctable: tuple[type[Exception], ...] = (ValueError, OSError, *kinds)
    try:
        yield
    except correctable as error:
        if printing.verbose:
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.secho("interrupted: the same command continues where this one ended", err=True)
        raise typer.Exit(130) from error
