"""Accelerated projected gradient for concave losses in a box, with a duality gap as proof."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch

from perturbsets._types import Flags, Offsets, PerImage, Rows
from perturbsets.ascents.base import CHECK_EVERY, Active, Best, GradientBased, finite_box, slope
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region

LEAST_RISE = 1.1  # of the estimate of L that proved too low
ROUNDING = 8.0  # units of rounding of a gradient that are no sign of curvature


def duality_gap(region: Region, loss: Loss, offsets: Offsets) -> PerImage:
    r"""Upper bound on how far a point of a box lies below the maximum of a concave loss, by its gradient there.

    .. math:: f(u^*) - f(u) \le \max_{v \in B} \langle \nabla f(u), v - u \rangle
        = \sum_j \max\big(\partial_j (a_j - u_j),\ \partial_j (b_j - u_j)\big)

    with the sides a and b of the region; the bound is 0 or more, in the unit of the loss.

    Raises:
        ValueError: If the region is no box of finite sides, or the loss has no gradient.

    References:
        Jaggi, *Revisiting Frank-Wolfe: projection-free sparse convex optimization*, 2013, sec. 2.
    """
    box = finite_box(region)
    if box is None:
        raise ValueError(f"region must be a box of finite sides, got a {type(region).__name__}")
    with torch.enable_grad():
        u = offsets.detach().requires_grad_()
        value, _ = loss(region.decode(u), u)
        return _gap(slope(value, u), u.detach(), box)


@dataclass(frozen=True)
class AcceleratedGradient(GradientBased):
    r"""Nesterov's accelerated projected gradient with restarts, until a duality gap proves the maximum near.

    .. math:: x_{t+1} = \Pi_B\Big(u_t + \frac1L \nabla f(u_t)\Big), \qquad
        u_{t+1} = \Pi_B\Big(x_{t+1} + \frac{a_t - 1}{a_{t+1}} (x_{t+1} - x_t)\Big), \qquad
        a_{t+1} = \tfrac12 \Big(1 + \sqrt{1 + 4 a_t^2}\Big)

    All points lie in the box. Each image has its own curvature L. It starts too low and rises to the observed curvature
    where the loss bends more between two points than L allows; the second of them is then discarded. Where a step
    reverses direction, :math:`\langle x_{t+1} - u_t, x_{t+1} - x_t \rangle < 0`, the acceleration restarts. An image is
    done when

    .. math:: \min_t \Big( f(u_t) + \max_{v \in B} \langle \nabla f(u_t), v - u_t \rangle \Big) - f(u^\star)
        \le \max(\tau\, |f(u^\star)|,\ \tau_0)

    at the best point :math:`u^\star` seen. No value of a concave loss (:class:`~perturbsets.LinearFeatureDistance`)
    exceeds the first term, which the result holds in ``bounds``; for other losses nothing is proven.

    Args:
        steps: Number of points tried after the start; each costs one forward and one backward pass.
        tolerance: :math:`\tau \ge 0`, a share of the value.
        absolute: :math:`\tau_0 \ge 0`, in the unit of the value, for losses whose maximum is 0.
        stop_on_success: Whether images whose attack succeeded, or that are done, leave the computation.

    Raises:
        ValueError: If a setting is outside its range.

    References:
        Beck and Teboulle, *A fast iterative shrinkage-thresholding algorithm for linear inverse problems*, 2009;
        O'Donoghue and Candès, *Adaptive restart for accelerated gradient schemes*, 2015 (restart by the gradient).
    """

    steps: int = 500
    _: KW_ONLY
    tolerance: float = 1e-3
    absolute: float = 1e-6
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, number in (("tolerance", self.tolerance), ("absolute", self.absolute)):
            if not number >= 0:  # NaN fails too
                raise ValueError(f"{name} must be 0 or more, got {number}: it is a distance from the maximum")

    def misfit(self, region: Region) -> str | None:
        why = super().misfit(region)
        if why is None and finite_box(region) is None:
            return "it needs a box of finite sides, for its duality gap: take an L-inf ball, or ProjectedLBFGS"
        return why

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        climb = _Climb(region, loss, best, region.project(start).detach())
        for step in range(self.steps + 1):
            if step % CHECK_EVERY == 0 and not climb.any_left(drop=self.stop_on_success, done=climb.done):
                return
            if step == self.steps:
                climb.evaluate(climb.trial)
                return
            climb.look(self.tolerance, self.absolute)
            if step == 0:
                climb.begin()
            climb.move()


class _Climb(Active):
    """The points of every image, and what is known of its curvature."""

    def __init__(self, region: Region, loss: Loss, best: Best, start: Offsets) -> None:
        super().__init__(region, loss, best)
        self.box = region.box()
        self.u = self.x = self.trial = start
        self.gradient = self.trial_gradient = torch.zeros_like(start)
        self.speed = start.new_ones(len(start), 1)  # a in the formula
        self.curvature = torch.zeros_like(self.speed)
        self.done: Flags = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        best.bounds = torch.full_like(best.loss, float("inf"))

    def look(self, tolerance: float, absolute: float) -> None:
        """Value, gradient and gap at the trial points."""
        value, self.trial_gradient = self.differentiate(self.trial)
        assert self.box is not None
        assert self.best.bounds is not None
        bounds, rows = self.best.bounds, slice(None) if self.rows is None else self.rows
        bound = value + _gap(self.trial_gradient, self.trial, self.box)
        bounds[rows] = bounds[rows].minimum(bound.to(bounds))
        highest = self.best.loss[rows]
        self.done = self.done | (bounds[rows] - highest <= (tolerance * highest.abs()).clamp_min(absolute))

    def begin(self) -> None:
        """Sets the curvatures so low that the first step is as long as the box."""
        assert self.box is not None
        tiny = torch.finfo(self.speed.dtype).tiny
        diagonal = (self.box[1] - self.box[0]).norm(dim=1, keepdim=True).clamp_min(tiny)
        self.curvature = (self.trial_gradient.norm(dim=1, keepdim=True) / diagonal).clamp(tiny, 1 / tiny)

    def move(self) -> None:
        """Accepts or discards the trial points, and computes the next."""
        step, change = self.trial - self.u, self.gradient - self.trial_gradient
        length = step.norm(dim=1, keepdim=True)
        rounding = ROUNDING * torch.finfo(step.dtype).eps * self.gradient.norm(dim=1, keepdim=True) * length
        low = torch.linalg.vecdot(change, step)[:, None] > self.curvature * length.square() + rounding
        seen = change.norm(dim=1, keepdim=True) / length
        self.curvature = torch.where(low, seen.maximum(LEAST_RISE * self.curvature), self.curvature)
        self.u = torch.where(low, self.u, self.trial)
        self.gradient = torch.where(low, self.gradient, self.trial_gradient)
        ahead = self.region.project(self.u + self.gradient / self.curvature)
        move = ahead - self.x
        restart = low | (torch.linalg.vecdot(ahead - self.u, move) < 0)[:, None]
        speed = torch.where(restart, 1.0, self.speed)
        self.speed = (1 + (1 + 4 * speed.square()).sqrt()) / 2
        self.x = ahead
        ahead = self.region.project(torch.addcmul(ahead, (speed - 1) / self.speed, move))
        self.trial = torch.where(self.done[:, None], self.trial, ahead)

    def select(self, left: Rows) -> None:
        super().select(left)
        self.box = self.region.box()


def _gap(gradient: Offsets, offsets: Offsets, box: tuple[Offsets, Offsets]) -> PerImage:
    low, high = box
    return (gradient * (low - offsets)).maximum(gradient * (high - offsets)).sum(1)
