"""Sets of the changes of augment: spatial transformations in a box, and the draws of any random change."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from augment import Change, SpatialChange
from perturbsets._types import Images, Offsets, OneOrEach, Rows
from perturbsets.rows import set_per_image
from perturbsets.sets.base import Ball, LinfBall, PerturbationSet, Region, check_bounds


class SpatialRegion(Region):
    """A :class:`SpatialBox` bound to images."""

    def __init__(self, images: Images, ball: Ball, change: SpatialChange) -> None:
        self.images, self.ball, self.change = images, ball, change
        self._identity, low, high = (
            images.new_tensor(row, dtype=self.dtype) for row in (change.identity, change.low, change.high)
        )
        self._below, self._above = self._identity - low, high - self._identity

    @property
    def size(self) -> int:
        return len(self.change.parameter_names)

    def parameters(self, offsets: Offsets) -> Tensor:
        """Angles, scales, shifts and shears at offsets: from -1 (lowest) over 0 (no change) to 1 (highest)."""
        return self._identity + torch.where(offsets < 0, self._below, self._above) * offsets

    def decode(self, offsets: Offsets) -> Images:
        return self.change.apply(self.images, self.parameters(offsets))

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Offsets whose parameters are uniform in their ranges (shrunk by the radius)."""
        shift = self.change.draw(len(self.images), generator=generator).to(self._identity) - self._identity
        spread = torch.where(shift < 0, self._below, self._above)
        return self.project(self.ball.radii(shift) * shift / spread.where(spread > 0, 1))

    def select(self, rows: Rows) -> SpatialRegion:
        return SpatialRegion(self.images[rows], self.ball.select(rows), self.change)


@dataclass(frozen=True)
class SpatialBox(PerturbationSet):
    """All rotations, scales, shears and translations of an image within ranges.

    Args:
        change: The ranges.
        radius: Share of the ranges in use, from 0 (only the image itself) to 1; a number, or one per image.

    Raises:
        ValueError: If a radius is outside [0, 1].

    References:
        Engstrom et al., *Exploring the landscape of spatial robustness*, 2019.
    """

    change: SpatialChange = field(default_factory=SpatialChange)
    _: KW_ONLY
    radius: OneOrEach = 1.0

    def __post_init__(self) -> None:
        expected = "within [0, 1], the share of the ranges in use (to go further, widen the ranges of the change)"
        set_per_image(self, "radius", lambda r: (r >= 0) & (r <= 1), expected)

    def at(self, images: Tensor) -> SpatialRegion:
        return SpatialRegion(check_bounds(images, (0.0, 1.0)), LinfBall(self.radius), self.change)


class DrawnRegion(Region):
    """A :class:`DrawnChanges` bound to images; offsets are the change's rows of parameters."""

    searchable: ClassVar[bool] = False

    def __init__(self, images: Images, change: Change) -> None:
        self.images, self.change, self.ball = images, change, LinfBall(math.inf)

    @property
    def size(self) -> int:
        return len(self.change.parameter_names)

    def decode(self, offsets: Offsets) -> Images:
        return self.change.apply(self.images, offsets)

    def random_start(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Parameters as the change draws them."""
        return self.change.draw(len(self.images), generator=generator).to(self.centre())

    def select(self, rows: Rows) -> DrawnRegion:
        return DrawnRegion(self.images[rows], self.change)


@dataclass(frozen=True)
class DrawnChanges(PerturbationSet):
    """All results of a random change of an image: corruptions, movements, any pipeline.

    Parameters such as the number of a corruption or a seed have no neighbours, so gradients are of no use here, but
    :class:`perturbsets.RandomSearch` and :class:`perturbsets.AugmentedTraining` are.

    Args:
        change: The change.

    Example:
        >>> from augment import RandomCorruption
        >>> region = DrawnChanges(RandomCorruption(["fog", "snow"])).at(torch.rand(4, 3, 32, 32))
        >>> region.decode(region.sample()).shape
        torch.Size([4, 3, 32, 32])
    """

    change: Change

    def at(self, images: Tensor) -> DrawnRegion:
        return DrawnRegion(check_bounds(images, (0.0, 1.0)), self.change)
