"""One step to the edge: the fast gradient sign method and its relatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perturbsets._types import Offsets, OneOrEach
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.climb import climb, finite_radii, set_step_size, slope
from perturbsets.ascents.directions import Steepest
from perturbsets.objectives.base import Loss
from perturbsets.per_image import for_each
from perturbsets.sets.base import Region, Starts, check_starts


@dataclass(frozen=True)
class OneStep(Ascent):
    r"""One steepest step, FGSM in L-inf and FGM in L2.

    .. math:: u = \Pi_B\big(u_0 + \eta\, d(\nabla)\big)

    Args:
        step_size: Step :math:`\eta > 0` in the set's own unit; the radius if not given.
        starts: Where :math:`u_0` lies: at ``"zero"``, ``"uniform"`` in the region (fast adversarial training), or at
            a ``"sample"`` of the set's own distribution.
        or_stay: Whether the start is returned where the step lowers the value. Without it the step counts wherever it
            leads, as the attack was published.

    Raises:
        ValueError: If the step size is not above 0, or the starts are unknown.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4;
        Wong, Rice and Kolter, *Fast is better than free*, 2020 (random start).
    """

    step_size: OneOrEach | None = None
    starts: Starts = "zero"
    or_stay: bool = True

    def __post_init__(self) -> None:
        set_step_size(self)
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
        best = Best(region, loss)
        if self.or_stay:
            climb(region, loss, first, best, steps=1, step_size=size, direction=Steepest())
        else:
            _leap(region, loss, first, best, size)
        return best


def _leap(region: Region, loss: Loss, start: Offsets, best: Best, size: OneOrEach) -> None:
    """The step, of which only the end goes to ``best``."""
    u = start.detach().requires_grad_()
    gradient = slope(loss(region.decode(u), u)[0], u)
    best.calls += 1
    sizes = for_each(size, u, "step_size")[:, None]
    with torch.no_grad():
        u = region.project(u + sizes * region.steepest(gradient))
        images = region.decode(u)
        best.update(u, images, *loss(images, u))
