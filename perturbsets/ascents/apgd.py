"""Auto-PGD: projected gradient with momentum and an adaptive step size."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import torch

from perturbsets._types import Flags, Offsets, OneOrEach
from perturbsets.ascents.base import CHECK_EVERY, Active, Best, GradientBased, finite_radii
from perturbsets.objectives.base import Loss
from perturbsets.rows import for_each
from perturbsets.sets.base import Region, Starts


@dataclass(frozen=True)
class APGD(GradientBased):
    r"""Projected gradient with momentum whose step halves, image by image, where progress stalls.

    .. math:: z = \Pi_B\big(u_t + \eta\, d(\nabla_t)\big), \qquad
        u_{t+1} = \Pi_B\big(u_t + \alpha (z - u_t) + (1 - \alpha)(u_t - u_{t-1})\big)

    At checkpoints, ever closer to each other, the step of an image is halved, and it continues from its best point, if
    since the last one the loss rose in too few of the steps, or neither the step nor the highest loss has changed.

    Args:
        steps: Number of steps per start.
        step_size: First step :math:`\eta > 0` in the set's own unit; twice the radius if not given.
        restarts: Number of starts.
        starts: Where to begin: ``"zero"``, ``"uniform"`` in the region, or at a ``"sample"`` of the set.
        step_weight: Weight :math:`\alpha` of the new step against the former one, in (0, 1]; 1 is without momentum.
        rho: Share :math:`\rho` of steps in which the loss must have risen for the step to stay, in [0, 1].
        stop_on_success: Whether images whose attack succeeded leave the computation.

    Raises:
        ValueError: If a setting is outside its range, or several starts would be the same.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, algorithm 1 and sec. 3.
    """

    steps: int = 100
    _: KW_ONLY
    step_size: OneOrEach | None = None
    restarts: int = 1
    starts: Starts = "uniform"
    step_weight: float = 0.75
    rho: float = 0.75
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.step_weight <= 1:
            raise ValueError(f"step_weight must be in (0, 1], got {self.step_weight}")
        if not 0 <= self.rho <= 1:
            raise ValueError(f"rho must be a share in [0, 1], got {self.rho}")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        size = 2 * finite_radii(region) if self.step_size is None else self.step_size
        climb = _AutoClimb(region, loss, region.project(start).detach(), best, size)
        marks = checkpoints(self.steps)
        for step in range(self.steps):
            if step % CHECK_EVERY == 0 and not climb.any_left(drop=self.stop_on_success):
                return
            climb.step(self.step_weight if step else 1.0, last=step + 1 == self.steps)
            if step + 1 in marks:
                since = step + 1 - max(mark for mark in marks if mark <= step)
                climb.judge(self.rho * since)


def checkpoints(steps: int) -> list[int]:
    """Checkpoints, in steps: 0, 22 %, 41 %, 57 %, ... of all, ever closer but never below 6 %."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first, so that 57 % of 100 steps, a sum of floats, is 57 and not 58.
    return sorted({math.ceil(round(share * steps, 9)) for share in shares if share <= 1})


class _AutoClimb(Active):
    """Where every image is, where it was, and the highest point it has seen."""

    def __init__(self, region: Region, loss: Loss, start: Offsets, best: Best, step_size: OneOrEach) -> None:
        super().__init__(region, loss, best)
        self.u = self.former = self.top_u = start
        self.value, self.gradient = self.differentiate(start)
        self.top_value, self.top_gradient = self.value, self.gradient
        self.size = for_each(step_size, start, "step_size")[:, None]
        self.rises = torch.zeros_like(self.value)
        self.judged_value = self.top_value
        self.halved: Flags = torch.ones_like(self.rises, dtype=torch.bool)  # the first checkpoint asks for rises only

    def step(self, share: float, *, last: bool) -> None:
        """One step of every image, of which only the value counts if it is the last; ``share`` is that of the step."""
        target = self.region.project(torch.addcmul(self.u, self.size, self.region.steepest(self.gradient)))
        if share < 1:
            target = self.region.project(self.u + share * (target - self.u) + (1 - share) * (self.u - self.former))
        if last:
            self.evaluate(target)
            return
        value, gradient = self.differentiate(target)
        self.rises = self.rises + (value > self.value)
        higher = value > self.top_value
        self.top_u = target.where(higher[:, None], self.top_u)
        self.top_gradient = gradient.where(higher[:, None], self.top_gradient)
        self.top_value = value.where(higher, self.top_value)
        self.former, self.u, self.value, self.gradient = self.u, target, value, gradient

    def judge(self, wanted: float) -> None:
        """Halves the step of the images that stalled, and takes them back to their highest points.

        Their next momentum is the move back, as in the authors' program.
        """
        stuck = ~self.halved & (self.top_value == self.judged_value)
        self.halved = (self.rises < wanted) | stuck
        column = self.halved[:, None]
        self.size = (self.size / 2).where(column, self.size)
        self.u = self.top_u.where(column, self.u)
        self.gradient = self.top_gradient.where(column, self.gradient)
        self.value = self.top_value.where(self.halved, self.value)
        self.judged_value, self.rises = self.top_value, torch.zeros_like(self.rises)
