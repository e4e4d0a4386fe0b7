"""A source: clean images, read in batches, that remember where they came from."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from augment._types import Images, Indices, Labels


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
