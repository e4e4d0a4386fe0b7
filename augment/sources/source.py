"""A source: clean images, read in batches, that remember where they came from."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from augment._types import Images, Indices, Labels


@runtime_checkable
class Source(Protocol):
    """Clean images of one split of one data set.

    A frozen dataclass is recorded in a pair file with its arguments, any other class by its name and, where it has one
    of its own, its ``repr``. A source may also have a ``state``: a string that is another one when its data were
    replaced, such as the times of its files.

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
