"""One step to the edge: the fast gradient sign method and its relatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perturbsets._types import Offsets, PerImage
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.climb import check_steps, climb, finite_radii
from perturbsets.ascents.directions import Steepest
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region, Starts, check_starts


@dataclass(frozen=True)
class OneStep(Ascent):
    r"""One steepest step, FGSM in L-inf and FGM in L2.

    .. math:: u = \Pi_B\big(u_0 + \eta\, d(\nabla)\big)

    Args:
        step_size: Step :math:`\eta > 0` in the set's own unit; the radius if not given.
        starts: Where :math:`u_0` lies: at ``"zero"``, ``"uniform"`` in the region (fast adversarial training), or at
            a ``"sample"`` of the set's own distribution.

    Raises:
        ValueError: If the step size is not above 0, or the starts are unknown.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4;
        Wong, Rice and Kolter, *Fast is better than free*, 2020 (random start).
    """

    step_size: float | PerImage | None = None
    starts: Starts = "zero"

    def __post_init__(self) -> None:
        check_steps(1, self.step_size)
        check_starts(self.starts)

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        first = region.start(self.starts, generator=generator) if start is None else region.project(start)
        size = finite_radii(region) if self.step_size is None else self.step_size
        best = Best(region)
        climb(region, loss, first, best, steps=1, step_size=size, direction=Steepest())
        return best
