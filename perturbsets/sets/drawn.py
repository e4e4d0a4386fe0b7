"""The draws of a random change as a set without a geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from augment import Change
from perturbsets._types import Images, Offsets, Rows
from perturbsets.sets.base import LinfBall, PerturbationSet, Region, check_bounds


class DrawnRegion(Region):
    """A :class:`DrawnChanges` bound to images; offsets are the change's rows of parameters.

    Args:
        images: The images.
        change: What changes them.
    """

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

    Parameters such as the number of a corruption or a seed have no neighbours, so gradients are of no use here:
    :class:`perturbsets.RandomSearch` measures its average and its worst draws, :class:`perturbsets.AugmentedTraining`
    trains on it.

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
        """Binds the set to images.

        Raises:
            ValueError: If images are outside [0, 1].
        """
        return DrawnRegion(check_bounds(images, (0.0, 1.0)), self.change)
