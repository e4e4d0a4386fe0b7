"""Sources of clean images: protocols, a base class, and parts of a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from augment._types import Images, Indices, Labels, States


@runtime_checkable
class Source(Protocol):
    """Clean images of one split of one data set.

    A pair file records a frozen dataclass with its arguments, and any other class by its name and, if it defines one,
    its ``repr``. A source may also have a ``state``, a string that changes when its data are replaced, such as the
    times of its files; and, if images are not independent, ``groups``: the number of each image's independent unit in
    the data set, such as its photograph, scene or person, the same in each split. Confidence intervals are then over
    groups, and no two splits of pairs may share one.
    """

    @property
    def name(self) -> str:
        """Name of the data set, the same for each of its splits."""

    @property
    def indices(self) -> Indices:
        """Index of each image in the data set, over all splits."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of their labels."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, indices: Sequence[int], /) -> tuple[Images, Labels]:
        """Images in [0, 1] and labels at positions ``0 .. len(self) - 1``; the same at each call."""


class LabelledImages(Dataset[tuple[Float[Tensor, "C H W"], int]]):
    """Base of sources with a class for each image.

    A subclass has ``indices``, and all ``images`` (uint8, or floating point in [0, 1]) and ``labels`` of its split, or
    a ``batch`` of its own. These are fields in some and properties in others, hence ``self: Any``.
    """

    def __len__(self: Any) -> int:
        """Number of images."""
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "C H W"], int]:
        """One image and its class."""
        images, labels = self.batch([index])
        return images[0], int(labels[0])

    def batch(self: Any, indices: Sequence[int] | Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and classes at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        images = self.images[positions]
        return images.float() / 255 if images.dtype == torch.uint8 else images, self.labels[positions]


def in_frame(images: Tensor, size: int) -> Tensor:
    """Square images padded with zeros to a height and width; an odd pixel goes after."""
    before = (size - images.shape[-1]) // 2
    after = size - images.shape[-1] - before
    return pad(images, (before, after, before, after))


def group_numbers(source: Source) -> Indices:
    """Number of each image's independent unit; without ``groups`` each image is one.

    Raises:
        ValueError: If the number of groups is not that of the images.

    Example:
        >>> from augment import Patches
        >>> len(group_numbers(Patches("test")).unique())
        22
    """
    groups = getattr(source, "groups", None)
    numbers = torch.as_tensor(source.indices if groups is None else groups, dtype=torch.int64)
    if numbers.shape != (len(source),):
        raise ValueError(
            f"source.groups must be one number for each of {len(source)} images, got {list(numbers.shape)}: images of "
            "one photograph, scene or person have the same number"
        )
    return numbers


@runtime_checkable
class MultiLabelSource(Source, Protocol):
    """Clean images with a class each, and the states of several labels: on, off or unknown.

    For example a face has one expression, its class, and several action units, its labels.
    """

    @property
    def label_names(self) -> Sequence[str]:
        """Names of the labels, in the order of the columns of their states."""

    def states(self, indices: Sequence[int], /) -> States:
        """1 where a label is on, 0 where it is off, NaN where that is unknown, at positions ``0 .. len(self) - 1``."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Part of a source: its images ``start:stop:step``, as a source of its own.

    Sources are often in the order of their classes: two portions with step 2 have the same classes and no image in
    common, and with `whole_groups` no group in common either.

    Args:
        source: The whole source.
        start: First position.
        stop: Position after the last one; the end if not given.
        step: Distance of positions.
        whole_groups: Whether to count groups instead of images, in the order of their numbers, and to take these whole.

    Raises:
        ValueError: If no image remains, or a number is out of range.

    Example:
        >>> from augment import Digits
        >>> seen, unseen = Portion(Digits("test"), 0, step=2), Portion(Digits("test"), 1, step=2)
        >>> len(seen), len(unseen), unseen.indices[:3].tolist()
        (150, 150, [1498, 1500, 1502])
    """

    source: Source
    start: int = 0
    stop: int | None = None
    step: int = 1
    whole_groups: bool = False

    def __post_init__(self) -> None:
        whole = self._places
        stop = whole if self.stop is None else self.stop
        if not 0 <= self.start < stop <= whole or self.step < 1:
            raise ValueError(
                f"start, stop and step must leave some of the {whole} "
                f"{'groups' if self.whole_groups else 'images'}, got {self.start}, {stop} and {self.step}"
            )

    @property
    def _places(self) -> int:
        return len(group_numbers(self.source).unique()) if self.whole_groups else len(self.source)

    @cached_property
    def positions(self) -> Sequence[int]:
        """Positions of its images in the source."""
        chosen = range(self.start, self._places if self.stop is None else self.stop, self.step)
        if not self.whole_groups:
            return chosen
        places = group_numbers(self.source).unique(return_inverse=True)[1]
        positions: list[int] = torch.isin(places, torch.tensor(chosen)).nonzero()[:, 0].tolist()
        return positions

    @property
    def name(self) -> str:
        """Name of the source's data set."""
        return self.source.name

    @property
    def classes(self) -> Sequence[str]:
        """Classes of the source."""
        return self.source.classes

    @property
    def indices(self) -> Indices:
        """Indices of its images in the data set."""
        return self.source.indices[list(self.positions)]

    @property
    def groups(self) -> Indices:
        """Number of each image's independent unit."""
        return group_numbers(self.source)[list(self.positions)]

    @property
    def state(self) -> str:
        """State of the source, if it has one."""
        return str(getattr(self.source, "state", ""))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and labels at positions ``0 .. len(self) - 1``."""
        wanted = torch.as_tensor(indices, dtype=torch.int64)
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < len(self):
            raise IndexError(f"positions must be from 0 to {len(self) - 1}, got {wanted.tolist()}")
        return self.source.batch([self.positions[position] for position in wanted.tolist()])
