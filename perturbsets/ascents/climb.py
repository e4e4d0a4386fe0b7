"""The loop under every first-order ascent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from perturbsets._types import Flags, Offsets, OneOrEach, PerImage, Rows
from perturbsets.ascents.base import Best
from perturbsets.objectives.base import Loss
from perturbsets.per_image import for_each, set_per_image
from perturbsets.sets.base import Region

# How the steps of a climb shrink.


Schedule = Literal["constant", "linear", "cosine"]


def shares(schedule: Schedule, steps: int) -> list[float]:
    r"""The share of the step size that each of the steps takes.

    .. math:: 1, \qquad 1 - t/T, \qquad \tfrac12 \big(1 + \cos(\pi t/T)\big), \qquad t = 0, \dots, T-1

    for ``"constant"``, ``"linear"`` and ``"cosine"``: all begin with the whole step, and the latter two shrink towards
    zero, for fine searches.

    Args:
        schedule: Which of them.
        steps: Number of steps :math:`T`.

    Returns:
        A share per step, in [0, 1].

    References:
        Loshchilov and Hutter, *SGDR: stochastic gradient descent with warm restarts*, 2017, eq. 5 (cosine).
    """
    if schedule == "linear":
        return [1 - step / steps for step in range(steps)]
    if schedule == "cosine":
        return [(1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    return [1.0] * steps


def check_schedule(schedule: str) -> None:
    """Refuses schedules that do not exist.

    Raises:
        ValueError: If the schedule is unknown.
    """
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule must be one of {list(get_args(Schedule))}, got {schedule!r}")


# From gradients to steps: what a first-order ascent remembers about former gradients.


class Direction(ABC):
    """Turns the gradients of one climb into steps of unit size, and may remember former ones."""

    @abstractmethod
    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        """The next step, before its size.

        Args:
            region: Where the climb is.
            gradient: Gradient at the present offsets.
        """

    @abstractmethod
    def select(self, rows: Rows) -> None:
        """Forgets all but some of the images."""


class Plain(Direction):
    """The gradient itself."""

    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        return gradient

    def select(self, rows: Rows) -> None:
        """Nothing is remembered."""


class Steepest(Direction):
    r"""The unit step of the region's own norm, along a running sum of gradients.

    .. math:: m_t = \mu\, m_{t-1} + \nabla_t / \overline{|\nabla_t|}

    Args:
        momentum: Weight :math:`\mu \ge 0` of former gradients; 0 follows the present one alone.
    """

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = momentum
        self._velocity: Tensor | None = None

    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        if self.momentum:
            mean = gradient.abs().mean(1, keepdim=True)
            gradient = gradient / mean.where(mean > 0, 1)
            self._velocity = gradient if self._velocity is None else self.momentum * self._velocity + gradient
            gradient = self._velocity
        return region.steepest(gradient)

    def select(self, rows: Rows) -> None:
        if self._velocity is not None:
            self._velocity = self._velocity[rows]


class Adaptive(Direction):
    r"""Adam's step: the mean gradient over the root of the mean squared one, coordinate by coordinate.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1) \nabla_t, \quad v_t = \beta_2 v_{t-1} + (1-\beta_2) \nabla_t^2, \quad
        d_t = \frac{m_t / (1-\beta_1^t)}{\sqrt{v_t / (1-\beta_2^t)} + \delta}

    Args:
        betas: :math:`(\beta_1, \beta_2)`.
        delta: :math:`\delta`, against division by zero.

    References:
        Kingma and Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1.
    """

    def __init__(self, betas: tuple[float, float], delta: float) -> None:
        self.betas, self.delta = betas, delta
        self._steps = 0
        self._moments: tuple[Tensor, Tensor] | None = None

    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        first, second = self._moments or (torch.zeros_like(gradient), torch.zeros_like(gradient))
        self._steps += 1
        self._moments = first.lerp(gradient, 1 - self.betas[0]), second.lerp(gradient.square(), 1 - self.betas[1])
        mean, square = (
            moment / (1 - beta**self._steps) for moment, beta in zip(self._moments, self.betas, strict=True)
        )
        return mean / (square.sqrt() + self.delta)

    def select(self, rows: Rows) -> None:
        if self._moments is not None:
            self._moments = self._moments[0][rows], self._moments[1][rows]


# Images that climb together, each at a stage of its own, and leave when they are done.


class Climber:
    """One climb of a batch; subclasses hold the state of every image in tensors with a row for each.

    Args:
        region: Where to stay.
        loss: What to raise.
        best: Takes in every point visited.

    Attributes:
        box: Smallest and largest offsets, where the region is a box.
        rows: Which images of the batch still climb; all if ``None``.
    """

    def __init__(self, region: Region, loss: Loss, best: Best) -> None:
        self.region, self.loss, self.best, self.box = region, loss, best, region.box()
        self.rows: Rows | None = None

    def goes_on(self, done: Flags, *, drop: bool) -> bool:
        """Leaves out the images that are done, if they may be dropped; tells whether any is left.

        Args:
            done: Which of those that still climb need climb no more.
            drop: Whether they leave, and those that reached the goal with them.
        """
        if drop:
            done = done | (self.best.success if self.rows is None else self.best.success[self.rows])
            if bool(done.any()):
                left = (~done).nonzero()[:, 0]
                self.select(left)
                return len(left) > 0
        return len(done) == 0 or not bool(done.all())

    def select(self, left: Rows) -> None:
        """Forgets all but some of those that still climb."""
        rows = left if self.rows is None else self.rows[left]
        self.region, self.loss = self.region.select(left), self.loss.select(left)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[left])
        self.rows, self.box = rows, self.region.box()


CHECK_EVERY = 5  # steps between looks at which images are done, so that a GPU need not wait each step


def climb(
    region: Region,
    loss: Loss,
    start: Offsets,
    best: Best,
    *,
    steps: int,
    step_size: OneOrEach,
    direction: Direction,
    schedule: Schedule = "constant",
    stop_on_success: bool = False,
) -> None:
    r"""Raises a loss inside any region by projected steps; the best points go to ``best``.

    .. math:: u_{t+1} = \Pi_B\big(u_t + s_t \eta\, d_t\big)

    with :math:`d_t` the direction made of the gradients so far, and :math:`s_t` the schedule's share of the step.

    Args:
        region: Where to stay, and how to decode.
        loss: What to raise.
        start: First offsets, in the region.
        best: What was seen so far; it takes in every point visited.
        steps: Number of steps; each costs one forward and one backward pass, and one forward more in all.
        step_size: Step :math:`\eta`, in the region's own unit; a number, or one per image.
        direction: From gradients to steps; a fresh one for each climb.
        schedule: How the step shrinks.
        stop_on_success: Whether images that reached the goal leave the computation.
    """
    rows = None
    sizes = for_each(step_size, start, "step_size")[:, None]
    share_of = shares(schedule, steps)
    u = start.detach()
    for step in range(steps + 1):
        if stop_on_success and step % CHECK_EVERY == 0:
            success = best.success if rows is None else best.success[rows]
            if bool(success.any()):
                left = (~success).nonzero()[:, 0]
                rows = left if rows is None else rows[left]
                if not len(rows):
                    return
                region, loss = region.select(left), loss.select(left)
                u, sizes = u[left], sizes[left]
                direction.select(left)
        climbing = step < steps
        u = u.detach().requires_grad_(climbing)
        with torch.set_grad_enabled(climbing):
            images = region.decode(u)
            value, success = loss(images, u)
        best.update(u, images, value, success, rows)
        if climbing:
            gradient = slope(value, u)
            u = region.project(torch.addcmul(u.detach(), share_of[step] * sizes, direction(region, gradient)))


def slope(value: PerImage, offsets: Offsets) -> Offsets:
    """The gradient of every image's value at its offsets.

    Raises:
        ValueError: If there is none.
    """
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), offsets, allow_unused=True)  # images are independent
    if gradient is None:
        raise ValueError(
            "objective must have a gradient at the offsets for this ascent, got values without one: let no step from "
            "samples to values detach or count, or take an ascent without gradients, such as Square or RandomSearch"
        )
    return gradient


def check_steps(steps: int) -> None:
    """Refuses step counts that cannot be meant.

    Raises:
        ValueError: If there are no steps.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


def set_step_size(settings: Any) -> None:
    """Checks the ``step_size`` of a frozen dataclass, and stores it as a float, a tensor ``[B]`` or ``None``.

    Raises:
        ValueError: If a step size is not above 0.
    """
    set_per_image(settings, "step_size", lambda size: size > 0, "above 0, in the unit of the set's radius")


def finite_radii(region: Region) -> PerImage:
    """Radii of a region, one per image, for step sizes that are shares of them.

    Raises:
        ValueError: If a radius is infinite.
    """
    radii = region.ball.radii(region.centre())[:, 0]
    if not bool(radii.isfinite().all()):
        raise ValueError("step_size must be given where the radius is infinite: by default it is a share of it")
    return radii
