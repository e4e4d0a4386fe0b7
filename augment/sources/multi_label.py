"""A source whose images have many labels at once, each of them on, off or unknown."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from augment._types import States
from augment.sources.source import Source


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
