"""A part of a source's images, as a source of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from augment._types import Images, Indices, Labels
from augment.sources.source import Source, group_numbers


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
