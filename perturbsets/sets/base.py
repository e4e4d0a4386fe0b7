"""What a perturbation set is, and what it becomes when bound to a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from augment.value_range import in_range
from perturbsets._types import Offsets, Rows, Samples
from perturbsets.per_image import PerImageSettings
from perturbsets.sets.ball import Ball

Starts = Literal["zero", "uniform", "sample"]


class Region(ABC):
    """A perturbation set bound to a batch: where an ascent may go, and what it finds there.

    Ascents need to know no more than this class. Offsets are always one matrix ``[B, Z]``.

    Attributes:
        images: The batch.
        ball: The ball of offsets.
        cheap: Whether decoding costs next to nothing and gives the same numbers for some images as for all, so that a
            search need not keep images beside offsets.
        searchable: Whether near offsets give near images, so that something can climb; if not, they are only drawn.
    """

    cheap: ClassVar[bool] = False
    searchable: ClassVar[bool] = True
    images: Samples
    ball: Ball

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of offset coordinates Z."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of offsets and values: that of the images, but no half, whose steps are a tenth of a small radius."""
        return torch.promote_types(self.images.dtype, torch.float32)

    @abstractmethod
    def decode(self, offsets: Offsets) -> Samples:
        """The samples at offsets, differentiable; zero offsets need not give the batch back."""

    @abstractmethod
    def select(self, rows: Rows) -> Region:
        """The region of some of the images."""

    def project(self, offsets: Offsets) -> Offsets:
        """The nearest offsets inside the region."""
        return self.ball.project(offsets)

    def steepest(self, gradient: Offsets) -> Offsets:
        """The unit step that climbs fastest."""
        return self.ball.steepest(gradient)

    def random_start(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Offsets drawn uniformly from the ball, then projected into the region."""
        return self.project(self.ball.uniform(self.centre(), generator))

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Offsets drawn from the set's own distribution; uniform if it has none."""
        return self.random_start(generator=generator)

    def box(self) -> tuple[Offsets, Offsets] | None:
        """Smallest and largest offsets where the region is a box, infinite where there is no limit; else ``None``.

        That of the ball; a region whose projection is not the ball's says so itself.
        """
        return self.ball.box(self.centre())

    def centre(self) -> Offsets:
        """Zero offsets."""
        return self.images.new_zeros(len(self.images), self.size, dtype=self.dtype)

    def start(self, starts: Starts, *, generator: torch.Generator | None = None) -> Offsets:
        """First offsets of a search: the centre, random ones, or ones of the set's own distribution."""
        if starts == "zero":
            return self.centre()
        return self.sample(generator=generator) if starts == "sample" else self.random_start(generator=generator)


class PerturbationSet(PerImageSettings, ABC):
    r"""A set of changed versions of a sample, :math:`S(x) = \{\, g(x, u) : u \in B \,\}`.

    A set of one's own needs a class with :meth:`at`, and a :class:`Region` with ``size``, ``decode`` and
    ``keep``; it then works with every objective, ascent, criterion and transform. A ``radius`` may be one per image.
    """

    per_image: ClassVar[tuple[str, ...]] = ("radius",)

    @abstractmethod
    def at(self, images: Any) -> Region:
        """Binds the set to a batch; what depends on x alone is computed once per region.

        Gradients flow to images that ask for them, so that one set may follow another.
        """


def check_starts(starts: str, restarts: int = 1) -> None:
    """Refuses kinds and numbers of starts that cannot be meant.

    Raises:
        ValueError: If the kind is unknown, there are none, or several would be the same.
    """
    if starts not in get_args(Starts):
        raise ValueError(f"starts must be one of {list(get_args(Starts))}, got {starts!r}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if restarts > 1 and starts == "zero":
        raise ValueError(f'starts must be random for {restarts} restarts, got "zero": all would be the same')


def check_bounds(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Samples within the bounds: what rounding left outside is clamped, by :func:`augment.value_range.in_range`.

    Raises:
        ValueError: If a value is further outside, NaN or of an integer type.
    """
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point within [{bounds[0]:g}, {bounds[1]:g}], got {images.dtype}: scale them, "
            "`images.float() / 255` where 255 is white"
        )
    return in_range(images, bounds, normalized="leave out the normalisation, and put it inside of the model")
