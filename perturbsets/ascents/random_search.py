"""Trying draws of the set's own distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perturbsets._types import Offsets
from perturbsets.ascents.base import Ascent, Best
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region


@dataclass(frozen=True)
class RandomSearch(Ascent):
    """The worst of several draws from the set's own distribution; needs no gradient.

    Args:
        draws: Number of draws; 1 measures the average case.

    Raises:
        ValueError: If there are no draws.
    """

    draws: int = 10

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    def misfit(self, region: Region) -> str | None:
        return None

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        best = Best(region, loss)
        with torch.no_grad():
            for draw in range(self.draws):
                first = start if draw == 0 else None
                offsets = region.sample(generator=generator) if first is None else region.project(first)
                images = region.decode(offsets)
                best.update(offsets, images, *loss(images, offsets))
        return best
