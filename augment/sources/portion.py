"""A part of a source's images, as a source of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from augment._types import Images, Indices, Labels
from augment.sources.source import Source, group_numbers


@dataclass(frozen=True, eq=False)
class Portion:
    """Images of a source from `start` on, each `step`-th of them, before `stop`.

    Sources are often in the order of their classes: two portions with step 2 show the same classes and share no image.

    Args:
        source: The whole.
        start: First position.
        stop: Position after the last one; the end if not given.
        step: From one position to the next.

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

    def __post_init__(self) -> None:
        whole = len(self.source)
        stop = whole if self.stop is None else self.stop
        if not 0 <= self.start < stop <= whole or self.step < 1:
            raise ValueError(
                f"start, stop and step must leave some of the {whole} images, got {self.start}, {stop} and {self.step}"
            )

    @property
    def positions(self) -> range:
        """Where its images stand in the source."""
        return range(self.start, len(self.source) if self.stop is None else self.stop, self.step)

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
        return self.source.batch((wanted * self.step + self.start).tolist())
