"""Some rows of a batch: of labels, and of settings that may be one number for each image; and checks of settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from numbers import Number
from typing import Any, ClassVar, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from perturbsets._types import OneOrEach, PerImage, Rows
from perturbsets.printing import Printed

SHOWN = 8  # row numbers named in an error
Kind = TypeVar("Kind", bound="PerImageSettings")


def named_rows(flags: Tensor) -> str:
    """Names the rows that a flag is set for, the first few of them: "rows 0, 3 and 9 more"."""
    numbers = flags.nonzero().flatten().tolist()
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return ("row " if len(numbers) == 1 else "rows ") + ", ".join(map(str, numbers[:SHOWN])) + more


def take_rows(given: Any, rows: Rows) -> Any:
    """The entries of some images, of a tensor, array, list or tuple with one for each, or a mapping of such.

    ``None``, a number or a string holds for all images. A tuple becomes a list.
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


def batches(images: Tensor, size: int) -> tuple[Rows, ...]:
    """Row numbers of images in batches of at most so many, on the device of the images."""
    return torch.arange(len(images), device=images.device).split(size)


def as_tensor(labels: Any) -> Tensor:
    """Labels, given as a tensor, array, list or number, as a tensor.

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
    """Refuses an argument, as for :func:`take_rows`, that does not have one entry for each of so many images.

    Raises:
        ValueError: If it has not, or it is not clear whether it has.
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


class PerImageSettings(Printed):
    """Settings of sets, objectives, ascents and adversaries, of which some may hold one number for each image.

    Attributes:
        per_image: Names of the fields that may hold one number for each image.
    """

    per_image: ClassVar[tuple[str, ...]] = ()

    def select(self: Kind, rows: Rows) -> Kind:
        """The same settings for the images at some positions of a batch.

        Numbers for each image are selected here and in all settings that this holds: the parts of a composed set, or
        the set, objective and ascent of an adversary.

        Raises:
            ValueError: If there is a number for each image, but none at some of the positions, or something is to be
                selected and this is no dataclass.
        """
        changed = {}
        for name in _names(self):
            value = getattr(self, name)
            some = _selected(value, rows, name) if name in self.per_image else _settings_of(value, rows)
            if some is not value:
                changed[name] = some
        if changed and not is_dataclass(self):
            raise ValueError(
                f"{type(self).__name__} must be a dataclass for {sorted(changed)} of some images: write "
                "@dataclass(frozen=True) above it, or give it a method select(rows)"
            )
        return replace(self, **changed) if changed else self  # type: ignore[type-var]


def check_count(settings: Any, count: int) -> None:
    """Refuses settings, nested ones included, with a number for each image if there are more or fewer images.

    To be called with a set, an adversary or a collection of such, and a whole batch, before it is split.

    Raises:
        ValueError: If there are more or fewer.
    """
    for part in _nested(settings):
        for name in part.per_image:
            value = getattr(part, name, None)  # not every ascent has a step size
            numbers = None if value is None else _numbers(value)
            if numbers is not None and numbers.ndim and len(numbers) != count:
                raise ValueError(
                    f"{name} must be a number or one per image, got {len(numbers)} numbers for {count} images: give "
                    "one for each"
                )


def set_per_image(settings: Any, name: str, allowed: Callable[[Tensor], Tensor], expected: str) -> None:
    """Checks a field of a frozen dataclass, and stores it as a float or as one tensor ``[B]``.

    To be called in ``__post_init__``. A sequence becomes a tensor in double precision; ``None`` passes.

    Args:
        settings: The dataclass.
        name: Name of the field.
        allowed: From numbers to flags, so that NaN fails.
        expected: What is allowed, for the error.

    Raises:
        ValueError: If the field is neither a number nor one per image, or a number is not allowed.
    """
    value = getattr(settings, name)
    if value is None:
        return
    try:
        numbers = _numbers(value)
        wrong = ~allowed(numbers)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be {expected}; got {value!r}, which is no number") from None
    if numbers.ndim > 1:
        raise ValueError(f"{name} must be {expected}; got numbers of shape {list(numbers.shape)}, give one per image")
    if bool(wrong.any()):
        where = f" for image {int(wrong.nonzero()[0])} of {len(numbers)}" if numbers.ndim else ""
        raise ValueError(f"{name} must be {expected}, got {float(numbers[wrong][0]):g}{where}")
    object.__setattr__(settings, name, numbers if numbers.ndim else float(numbers))


def for_each(value: Any, like: Tensor, name: str) -> PerImage:
    """A setting as one number for each image of a batch, in dtype and on the device of a tensor with a row per image.

    Raises:
        ValueError: If there is one per image, but not for this number of images.
    """
    numbers = _numbers(value).to(like.dtype).to(like.device)  # in this order: not every device has doubles
    if numbers.ndim and numbers.shape != like.shape[:1]:
        raise ValueError(
            f"{name} must be a number or one per image, got {list(numbers.shape)} numbers for {len(like)} images: "
            "`select(rows)` of the set or the adversary gives those of some images"
        )
    return numbers.expand(len(like))


def one_number(value: OneOrEach, name: str) -> float:
    """A setting as a float, where one per image is not supported.

    Raises:
        ValueError: If there is one per image.
    """
    if isinstance(value, Sequence) or (isinstance(value, Tensor) and value.ndim):
        raise ValueError(f"{name} must be one number here, got {len(value)}, one per image: take one for all images")
    return float(value)


def _numbers(value: Any) -> Tensor:
    """A number, or numbers, as a floating-point tensor; one that is already is returned itself."""
    numbers = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    return numbers if numbers.is_floating_point() else numbers.to(torch.float64)


def _selected(value: Any, rows: Rows, name: str) -> Any:
    if value is None:
        return None
    numbers = _numbers(value)
    if not numbers.ndim:
        return value
    if len(rows) and int(rows.max()) >= len(numbers):
        raise ValueError(
            f"{name} must be a number or one per image, got {len(numbers)} numbers for {int(rows.max()) + 1} images or "
            "more: give one for each"
        )
    return numbers[rows.to(numbers.device)]


def _nested(value: Any) -> Iterator[PerImageSettings]:
    """Settings, and the settings in their attributes and in collections of such."""
    if isinstance(value, PerImageSettings):
        yield value
        value = [getattr(value, name) for name in _names(value)]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _nested(part)


def _names(settings: PerImageSettings) -> list[str]:
    return [field.name for field in fields(settings) if field.init] if is_dataclass(settings) else list(vars(settings))


def _settings_of(value: Any, rows: Rows) -> Any:
    """Settings, or a collection of such, of some images; anything else itself."""
    if isinstance(value, PerImageSettings):
        return value.select(rows)
    if isinstance(value, list | tuple):
        kept = [_settings_of(part, rows) for part in value]
        same = all(new is old for new, old in zip(kept, value, strict=True))
        return value if same else type(value)(kept)
    if isinstance(value, Mapping):
        named = {name: _settings_of(part, rows) for name, part in value.items()}
        return named if any(named[name] is not part for name, part in value.items()) else value
    return value


def check_choice(name: str, value: str, choices: Any) -> None:
    """Refuses a setting that is none of the words of a ``Literal``.

    Raises:
        ValueError: Naming the words there are.
    """
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {list(get_args(choices))}, got {value!r}")


def check_weights(**weights: float) -> None:
    """Checks weights of terms of a loss, by name.

    Raises:
        ValueError: If one is no finite number of 0 or more.
    """
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be a finite number of 0 or more, got {weight}")
