"""A run of a source's images, as a source of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from augment._types import Images, Indices, Labels
from augment.source import Source


@dataclass(frozen=True, eq=False)
class Portion:
    """Images `start` to `stop` of a source: a smaller one, or one of two that share no image.

    Args:
        source: The whole.
        start: First position.
        stop: Position after the last one; the end if not given.

    Raises:
        ValueError: If nothing is left.

    Example:
        >>> from augment import Digits
        >>> seen, unseen = Portion(Digits("test"), 0, 100), Portion(Digits("test"), 100)
        >>> len(seen), len(unseen)
        (100, 200)
    """

    source: Source
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self._stop <= len(self.source):
            raise ValueError(
                f"start and stop must leave some of the {len(self.source)} images, got {self.start} and {self.stop}"
            )

    @property
    def _stop(self) -> int:
        return len(self.source) if self.stop is None else self.stop

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
        return self.source.indices[self.start : self._stop]

    def __len__(self) -> int:
        """Number of images."""
        return self._stop - self.start

    def batch(self, indices: Sequence[int] | torch.Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and labels at positions ``0 .. len(self) - 1``."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(self):
            raise IndexError(f"positions must be from 0 to {len(self) - 1}, got {positions.tolist()}")
        return self.source.batch((positions + self.start).tolist())
