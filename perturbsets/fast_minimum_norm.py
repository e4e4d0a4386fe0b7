"""The smallest change that turns a sample, by one climb whose ball shrinks and grows."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from perturbsets._types import PerImage, Samples
from perturbsets.objectives.margin import Margin
from perturbsets.purity import ordinary, untouched
from perturbsets.sets.pixel import BALLS, PixelBall
from perturbsets.smallest_radius import SmallestRadius

DUALS = {"l1": math.inf, "l2": 2.0, "linf": 1.0}
LAST = 1e-2  # share of step and rate that the last step still has


def fast_minimum_norm(
    model: nn.Module,
    images: Samples,
    labels: Tensor,
    *,
    norm: Literal["l1", "l2", "linf"] = "l2",
    targeted: bool = False,
    steps: int = 100,
    step_size: float = 1.0,
    rate: float = 0.05,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> SmallestRadius:
    r"""Follows the margin's gradient on a ball whose radius moves to the decision boundary.

    .. math:: \epsilon \leftarrow \begin{cases} \min\{(1 - \gamma) \epsilon, \|u^*\|\} & x + u \text{ is turned} \\
        (1 + \gamma)\, \epsilon & \text{it was turned before} \\
        \|u\| + m(x + u) / \|\nabla m\|_* & \text{otherwise} \end{cases}, \qquad
        u \leftarrow \Pi_\epsilon\big(u - \alpha\, \nabla m / \|\nabla m\|_2\big)

    with m the margin by which the model is still right, :math:`u^*` the smallest change so far that turns it, and step
    :math:`\alpha` and rate :math:`\gamma` that shrink as cosines. One model call a step gives the whole curve of
    accuracy over the radius, where :func:`bisect` needs an attack a round, but fits any set.

    Args:
        model: The classifier; judged in evaluation mode and left as it was.
        images: Clean samples.
        labels: Their classes, or targets.
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        targeted: Whether labels are classes to reach.
        steps: Number of steps.
        step_size: First step :math:`\alpha`, above 0, an L2 length in the unit of the values.
        rate: First rate :math:`\gamma`, in (0, 1).
        bounds: Smallest and largest value.

    Returns:
        Radii, samples and calls.

    Raises:
        ValueError: If a setting is outside its range, or samples, labels or logits are not as they must be.

    References:
        Pintor et al., *Fast minimum-norm adversarial attacks through adaptive norm constraints*, 2021, algorithm 1.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> x = torch.rand(5, 1, 2, 2)
        >>> found = fast_minimum_norm(model, x, model(x).argmax(1), norm="linf")
        >>> found.accuracy(torch.tensor([0.0, 0.1])).shape
        torch.Size([2])
    """
    if steps < 1 or not step_size > 0 or not 0 < rate < 1:
        raise ValueError(
            "steps must be at least 1, step_size above 0 and rate in (0, 1), got "
            f"steps={steps}, step_size={step_size}, rate={rate}"
        )
    with untouched(model, images.device):
        images, labels = images.detach().clone(), ordinary(labels)
        box = PixelBall(norm, math.inf, bounds).at(images)
        loss = Margin(targeted=targeted).at(model, images, labels)
        u, radius = box.centre(), images.new_full((len(images),), math.inf)
        nearest, best = radius.clone(), images.clone()
        for step in range(steps + 1):
            u = u.detach().requires_grad_()
            changed = box.decode(u)
            value, reached = loss(changed, u)
            (gradient,) = torch.autograd.grad(value.sum(), u)
            size = box.ball.norm(u.detach())
            closer = reached & (size < nearest)
            nearest = size.where(closer, nearest)
            best[closer] = changed.detach()[closer]
            if step == steps:
                break
            shrunk = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * step / steps))
            radius = _moved(radius, reached, nearest, size - value.detach() / _dual(gradient, norm), shrunk * rate)
            ball = BALLS[norm](radius)
            length = gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
            target = u.detach() + shrunk * step_size * gradient / length
            u = ball.project_in_box(target, *ball.cut(box.low, box.high))
        return SmallestRadius(nearest, best, torch.full_like(nearest, steps + 1, dtype=torch.int64))


def _moved(radius: PerImage, reached: Tensor, nearest: PerImage, edge: PerImage, rate: float) -> PerImage:
    """The next radius: inwards where the sample is turned, outwards where it was, else to where it might be."""
    found = nearest.isfinite()
    outwards = torch.where(found, radius * (1 + rate), edge.clamp_min(0))
    return torch.where(reached, torch.minimum(radius * (1 - rate), nearest), outwards)


def _dual(gradient: Tensor, norm: str) -> PerImage:
    return torch.linalg.vector_norm(gradient, DUALS[norm], dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
