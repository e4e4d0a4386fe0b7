"""Plain gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perturbsets._types import Offsets, OneOrEach
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.climb import check_steps, climb, set_step_size
from perturbsets.ascents.directions import Plain
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region


@dataclass(frozen=True)
class GradientAscent(Ascent):
    r"""Steps along the gradient itself, not its direction; projected only where the region has a limit.

    .. math:: u_{t+1} = \Pi_B(u_t + \eta \nabla_t)

    Args:
        step_size: Step :math:`\eta > 0` per unit of gradient; a number, or one per image.
        steps: Number of steps.
        stop_when_reached: Whether images that reached the goal leave the computation.

    Raises:
        ValueError: If there are no steps, or the step size is not above 0.
    """

    step_size: OneOrEach
    steps: int = 20
    stop_when_reached: bool = False

    def __post_init__(self) -> None:
        check_steps(self.steps)
        set_step_size(self)

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        best = Best(region, loss)
        climb(
            region,
            loss,
            region.centre() if start is None else region.project(start),
            best,
            steps=self.steps,
            step_size=self.step_size,
            direction=Plain(),
            stop_when_reached=self.stop_when_reached,
        )
        return best
