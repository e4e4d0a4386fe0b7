"""Climbing from several starts."""

from __future__ import annotations

from abc import abstractmethod

import torch

from perturbsets._types import Offsets
from perturbsets.ascents.base import Ascent, Best
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region, Starts


class Restarted(Ascent):
    """An ascent that climbs once from each of its starts; subclasses say how.

    Attributes:
        restarts: Number of starts.
        starts: Where they lie.
    """

    restarts: int
    starts: Starts

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        best = Best(region, loss)
        for restart in range(self.restarts):
            given = None if restart else start
            first = region.start(self.starts, generator=generator) if given is None else region.project(given)
            self._climb(region, loss, first, best)
        return best

    @abstractmethod
    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        """Climbs from one start; every point visited goes to ``best``."""
