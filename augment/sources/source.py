"""A source: clean images, read in batches, that remember where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch

from augment._types import Images, Indices, Labels, States


@runtime_checkable
class Source(Protocol):
    """Clean images of one split of one data set.

    A frozen dataclass is recorded in a pair file with its arguments, any other class by its name and, where it has one
    of its own, its ``repr``. A source may also have a ``state``: a string that is another one when its data were
    replaced, such as the times of its files; and ``groups``: where images are not independent, the number of each
    image's independent unit in the data set, such as its photograph, scene or person, the same in each split. Intervals
    are then over these, and no two splits of pairs may share one.

    Example:
        >>> from augment import Digits
        >>> isinstance(Digits("test"), Source)
        True
    """

    @property
    def name(self) -> str:
        """Name of the data set, the same for each of its splits."""

    @property
    def indices(self) -> Indices:
        """Index of each image in the data set, so that two splits can be told apart."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of their labels."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, indices: Sequence[int], /) -> tuple[Images, Labels]:
        """Images in [0, 1] and labels at positions ``0 .. len(self) - 1``; the same at each call."""


def group_numbers(source: Source) -> Indices:
    """Number of each image's independent unit; images of a source that tells no ``groups`` are independent.

    Args:
        source: The source.

    Raises:
        ValueError: If the source tells another number of groups than it has images.

    Example:
        >>> from augment import Digits, Patches
        >>> len(group_numbers(Digits("test")).unique()), len(group_numbers(Patches("test")).unique())
        (300, 22)
    """
    groups = getattr(source, "groups", None)
    found = torch.as_tensor(source.indices if groups is None else groups, dtype=torch.int64)
    if found.shape != (len(source),):
        raise ValueError(
            f"source.groups must be one number for each of {len(source)} images, got {list(found.shape)}: images of "
            "one photograph, scene or person have the same number"
        )
    return found


# A source whose images have many labels at once, each of them on, off or unknown.


@runtime_checkable
class MultiLabelSource(Source, Protocol):
    """Clean images with a class each, and with the states of several labels.

    The class says what an image is, such as an expression; the labels say what it shows, such as the movements of a
    face. What nobody looked at is unknown, which is not the same as off.

    Example:
        >>> from augment import Digits, SegmentDigits
        >>> isinstance(SegmentDigits("test"), MultiLabelSource), isinstance(Digits("test"), MultiLabelSource)
        (True, False)
    """

    @property
    def label_names(self) -> Sequence[str]:
        """Names of the labels, in the order of the columns of their states."""

    def states(self, indices: Sequence[int], /) -> States:
        """1 where a label is on, 0 where it is off, NaN where that is unknown, at positions ``0 .. len(self) - 1``."""


# A part of a source's images, as a source of its own.


@dataclass(frozen=True, eq=False)
class Portion:
    """Images of a source from `start` on, each `step`-th of them, before `stop`.

    Sources are often in the order of their classes: two portions with step 2 show the same classes and share no image;
    with `whole_groups` they share no group of images that belong together, either.

    Args:
        source: The whole.
        start: First position.
        stop: Position after the last one; the end if not given.
        step: From one position to the next.
        whole_groups: Whether to count groups instead of images, in the order of their numbers, and to take these whole.

    Raises:
        ValueError: If nothing is left, or a number is out of range.

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
        """Where its images stand in the source."""
        chosen = range(self.start, self._places if self.stop is None else self.stop, self.step)
        if not self.whole_groups:
            return chosen
        places = group_numbers(self.source).unique(return_inverse=True)[1]
        found: list[int] = torch.isin(places, torch.tensor(chosen)).nonzero()[:, 0].tolist()
        return found

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
        """Number of each image's independent unit, as the source tells."""
        return group_numbers(self.source)[list(self.positions)]

    @property
    def state(self) -> str:
        """State of the source, if it tells one."""
        return str(getattr(self.source, "state", ""))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    def batch(self, indices: Sequence[int] | torch.Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and labels at positions ``0 .. len(self) - 1``."""
        wanted = torch.as_tensor(indices, dtype=torch.int64)
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < len(self):
            raise IndexError(f"positions must be from 0 to {len(self) - 1}, got {wanted.tolist()}")
        return self.source.batch([self.positions[position] for position in wanted.tolist()])
