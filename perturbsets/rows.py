"""Some rows of a batch, of whatever holds one entry for each of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perturbsets._types import Rows

# Names the rows of a batch that an error is about.


SHOWN = 8  # row numbers named in an error


def named_rows(flags: Tensor) -> str:
    """Names the rows that a flag is set for, the first few of them: "rows 0, 3 and 9 more"."""
    found = flags.nonzero().flatten().tolist()
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ("row " if len(found) == 1 else "rows ") + ", ".join(map(str, found[:SHOWN])) + more


def take_rows(given: Any, rows: Rows) -> Any:
    """The entries of some images.

    Args:
        given: A tensor, array, list or tuple with one entry for each image, or a mapping of such. ``None``, a number or
            a string holds for all images.
        rows: Numbers of the images.

    Returns:
        The same kind of thing, a list for a list or tuple.
    """
    if isinstance(given, Tensor):
        return given[rows.to(given.device)] if given.ndim else given
    if isinstance(given, np.ndarray):
        return given[rows.cpu().numpy()] if given.ndim else given
    if isinstance(given, Mapping):
        return {key: take_rows(value, rows) for key, value in given.items()}
    if isinstance(given, str) or not isinstance(given, Sequence):
        return given
    return [given[row] for row in rows.tolist()]


def as_tensor(labels: Any) -> Tensor:
    """Labels as a tensor.

    Args:
        labels: A tensor, or an array, list or number.

    Raises:
        ValueError: If they hold no numbers.
    """
    try:
        return labels if isinstance(labels, Tensor) else torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"labels must be numbers, as a tensor, array or list, got a {type(labels).__name__}: for other targets "
            "take a FunctionObjective as the objective"
        ) from None


def check_rows(name: str, given: Any, count: int) -> None:
    """Refuses what cannot be shared out by image.

    Args:
        name: Name of the argument.
        given: As for :func:`take_rows`.
        count: Number of images.

    Raises:
        ValueError: If it has not one entry for each image, or it is not clear whether it has.
    """
    if given is None or isinstance(given, str | Number) or (isinstance(given, Tensor | np.ndarray) and not given.ndim):
        return
    if isinstance(given, Mapping):
        for key, value in given.items():
            check_rows(f"{name}[{key!r}]", value, count)
    elif not isinstance(given, Tensor | np.ndarray | Sequence):
        raise ValueError(
            f"{name} must be a tensor, array, list or mapping with one entry for each of {count} images, or None, got "
            f"a {type(given).__name__}: bind what is the same for all images into the function, with functools.partial"
        )
    elif len(given) != count:
        raise ValueError(
            f"{name} must have one entry for each of {count} images, got {len(given)}: give a list of one target per "
            "image, or bind what is the same for all images into the function, e.g. by functools.partial"
        )
