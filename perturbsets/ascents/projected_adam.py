"""Adam on projected offsets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perturbsets._types import Offsets, OneOrEach
from perturbsets.ascents.base import Best
from perturbsets.ascents.climb import check_steps, climb, finite_radii, set_step_size
from perturbsets.ascents.directions import Adaptive
from perturbsets.ascents.restarted import Restarted
from perturbsets.ascents.schedule import Schedule, check_schedule
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region, Starts, check_starts


@dataclass(frozen=True)
class ProjectedAdam(Restarted):
    r"""Adam's steps, each projected back into the region; for losses whose coordinates differ much in scale.

    .. math:: u_{t+1} = \Pi_B\big(u_t + \eta\, m_t / (\sqrt{v_t} + \delta)\big)

    Args:
        steps: Number of steps per start.
        step_size: Step :math:`\eta > 0` of each coordinate, in the set's own unit; a tenth of the radius if not
            given. A number, or one per image.
        betas: Weights of the former mean and mean square, each in [0, 1).
        restarts: Number of starts.
        starts: Where to begin: ``"zero"``, ``"uniform"`` in the region, or at a ``"sample"`` of the set.
        schedule: How the step shrinks: ``"constant"`` not at all, ``"linear"`` or ``"cosine"`` towards zero.
        stop_when_reached: Whether images that reached the goal leave the computation.

    Raises:
        ValueError: If a setting is outside its range, or several starts would be the same.

    References:
        Kingma and Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1.
    """

    steps: int = 50
    step_size: OneOrEach | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    restarts: int = 1
    starts: Starts = "uniform"
    schedule: Schedule = "constant"
    stop_when_reached: bool = False

    def __post_init__(self) -> None:
        check_steps(self.steps)
        set_step_size(self)
        check_starts(self.starts, self.restarts)
        check_schedule(self.schedule)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        climb(
            region,
            loss,
            start,
            best,
            steps=self.steps,
            step_size=finite_radii(region) / 10 if self.step_size is None else self.step_size,
            direction=Adaptive(self.betas, delta=torch.finfo(start.dtype).tiny ** 0.5),
            schedule=self.schedule,
            stop_when_reached=self.stop_when_reached,
        )
