"""Packages that only a part of the library needs: imported where used, and named where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str, user: str) -> Iterator[None]:
    """Imports inside the ``with`` block belong to an extra of the distribution.

    Args:
        name: The extra, as setup.cfg names it.
        user: What needs the packages, for the message.

    Raises:
        ModuleNotFoundError: If a package is missing; the message names it and the command that installs it.

    Example:
        >>> with extra("report", "a chart"):
        ...     import no_such_package
        Traceback (most recent call last):
        ModuleNotFoundError: a chart needs the package no_such_package, which ... pip install "perturbsets[report]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise ModuleNotFoundError(
            f'{user} needs the package {missing}, which is not installed: pip install "perturbsets[{name}]"',
            name=error.name,
        ) from error
