"""The loop under every first-order ascent."""

from __future__ import annotations

from typing import Any

import torch

from perturbsets._types import Offsets, OneOrEach, PerImage
from perturbsets.ascents.base import Best
from perturbsets.ascents.directions import Direction
from perturbsets.ascents.schedule import Schedule, shares
from perturbsets.objectives.base import Loss
from perturbsets.per_image import for_each, set_per_image
from perturbsets.sets.base import Region

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
    stop_when_reached: bool = False,
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
        stop_when_reached: Whether images that reached the goal leave the computation.
    """
    rows = None
    sizes = for_each(step_size, start, "step_size")[:, None]
    share_of = shares(schedule, steps)
    u = start.detach()
    for step in range(steps + 1):
        if stop_when_reached and step % CHECK_EVERY == 0:
            reached = best.reached if rows is None else best.reached[rows]
            if bool(reached.any()):
                left = (~reached).nonzero()[:, 0]
                rows = left if rows is None else rows[left]
                if not len(rows):
                    return
                region, loss = region.keep(left), loss.keep(left)
                u, sizes = u[left], sizes[left]
                direction.keep(left)
        climbing = step < steps
        u = u.detach().requires_grad_(climbing)
        with torch.set_grad_enabled(climbing):
            images = region.decode(u)
            value, reached = loss(images, u)
        best.update(u, images, value, reached, rows)
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
