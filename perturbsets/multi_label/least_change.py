"""Least changes to patterns of labels: linearise the constraints, take the least step, and repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from perturbsets import model_call
from perturbsets._types import Flags, LabelLogits, Model, Offsets, PerImage, Samples, States
from perturbsets.adversaries.smallest_radius import SmallestRadius
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.model_call import ordinary, preserve_state
from perturbsets.objectives.classification import check_finite
from perturbsets.sets.base import PerturbationSet, Region

Solve = Callable[[Tensor, Tensor, Offsets, Offsets], Offsets]
"""From rows A, needed b, and a box: the least w within it with A w at least b; NaN where there is none."""
BETTER = 1e-3  # share of the norm by which a new result must be better
PATIENCE = 3  # rounds without a better result
NEAR = 1e-3  # distance to a boundary, in offsets, of which a share is gone beyond at least


class Constraints(NamedTuple):
    r"""Linear constraints :math:`m_j + \nabla m_j^\top r \ge \gamma` on a step r from offsets u, for target labels j.

    Attributes:
        asked: Which labels have a target state.
        margins: :math:`m_j = y^*_j s_j(u)` with :math:`y^*_j` 1 for on and -1 for off, and the logit :math:`s_j`; 0
            for free labels.
        slopes: Gradients of the margins in the offsets; 0 likewise, and where they are NaN or infinite.
        images: The samples at u.
        success: Whether every target state is predicted, by the margin :math:`\gamma` at least.
    """

    asked: Bool[Tensor, "B L"]
    margins: Float[Tensor, "B L"]
    slopes: Float[Tensor, "B L Z"]
    images: Samples
    success: Flags


def linearise(model: Model, region: Region, targets: States, offsets: Offsets, margin: float) -> Constraints:
    """Linearises the constraints of a pattern, by one forward pass and one backward pass for each target label.

    A label is on above 0, so that with a margin γ = 0 a logit of 0 is off.

    Raises:
        ValueError: If logits are not one for each label, not finite, or have no gradient at the offsets.
    """
    u = offsets.detach().requires_grad_()
    images = region.decode(u)
    logits = model_call.logits(model, images)
    check_label_logits(logits, targets)
    check_finite(logits.detach())
    asked = ~targets.isnan()
    signs = torch.where(asked, 2 * targets - 1, 0).to(u.dtype)
    slopes = u.new_zeros(*targets.shape, u.shape[1])
    for label in asked.any(0).nonzero().flatten().tolist():
        value, gradient = logits[:, label].sum(), None  # images are independent
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, u, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "model must have a gradient at the offsets, got logits without one: let no step from samples to "
                "logits detach or count"
            )
        slopes[:, label] = signs[:, label, None] * gradient.nan_to_num(0, 0, 0)
    margins = signs * logits.detach().to(u.dtype)
    return Constraints(asked, margins, slopes, images.detach(), _success(logits.detach(), targets, margin))


def _success(logits: LabelLogits, targets: States, margin: float) -> Flags:
    """Whether every target state is predicted, by a margin of its logit at least."""
    correct = ((logits > 0) == (targets == 1)) & (logits.abs() >= margin)
    return (correct | targets.isnan()).all(1)


def least_change(
    model: Model,
    images: Samples,
    targets: Tensor,
    *,
    perturbations: PerturbationSet,
    solve: Solve,
    norm: Callable[[Offsets], PerImage],
    steps: int,
    overshoot: float,
    margin: float,
) -> SmallestRadius:
    r"""Steps to the linearised pattern until the attack succeeds, then along the pattern towards zero offsets.

    .. math:: u \leftarrow \begin{cases}
        u + \arg\min \{\|r\| : m_j + \nabla m_j^\top r \ge \gamma + \eta\, |m_j - \gamma|\} &
        \text{no success at } u \\
        u + (1 - \eta) (w - u),\ w = \arg\min \{\|w\| : m_j + \nabla m_j^\top (w - u) \ge \gamma\} & \text{success}
        \end{cases}

    with the margins m of the target labels. The first form ends a share η of the missing margin beyond the boundary,
    and leaves as much of a margin that was there; the second stays inside. So no result lies on a boundary within
    rounding. A better result has to be nearer by a thousandth; an image without one in 3 rounds is done.

    The solver gives the least vectors in a box that meet linear constraints, and the norm is what it minimises; all
    else is as for :func:`multi_label_deepfool`, which runs it with the Euclidean norm.
    """
    if steps < 1 or not 0 < overshoot < 1 or not margin >= 0:
        raise ValueError(
            "steps must be at least 1, overshoot in (0, 1) and margin 0 or more, got "
            f"steps={steps}, overshoot={overshoot}, margin={margin}"
        )
    with preserve_state(model, images) as model:
        images = images.detach().clone()
        region = perturbations.at(images)
        if not region.searchable:
            raise ValueError(f"perturbations must be a set that can be climbed, got {type(perturbations).__name__}")
        targets = label_states(ordinary(targets), len(images), each_known=False).to(images.device)
        return _search(model, images, targets, region, solve, norm, steps, overshoot, margin)


def _search(
    model: Model,
    images: Samples,
    targets: States,
    region: Region,
    solve: Solve,
    norm: Callable[[Offsets], PerImage],
    steps: int,
    overshoot: float,
    margin: float,
) -> SmallestRadius:
    u, best = region.centre(), images.clone()
    nearest = u.new_full((len(u),), torch.inf)
    calls = torch.zeros(len(u), dtype=torch.int64, device=u.device)
    clean = torch.zeros(len(u), dtype=torch.bool, device=u.device)
    idle, rows = torch.zeros_like(calls), torch.arange(len(u), device=u.device)
    for step in range(steps + 1 if len(u) else 0):
        at = linearise(model, region, targets, u, margin)
        calls[rows] += 1
        if step == 0:
            clean = at.success
            if not torch.equal(at.images, images):  # offset 0 of a learned set is not the sample itself
                clean = _success(model_call.logits(model, images).detach(), targets, margin)
                calls += 1
        size = norm(u)
        better = at.success & (size < (1 - BETTER) * nearest[rows])
        idle[rows] = torch.where(better, 0, idle[rows] + nearest[rows].isfinite())
        nearest[rows[better]], best[rows[better]] = size[better], at.images[better]
        active = (nearest[rows] > 0) & (idle[rows] < PATIENCE)
        if step == steps or not bool(active.any()):
            break
        if not bool(active.all()):
            left = active.nonzero()[:, 0]
            region, u, targets, rows = region.select(left), u[left], targets[left], rows[left]
            at = Constraints(*(part[left] for part in at))
        inside = at.success[:, None]
        carried = u * inside  # w = u + r is least inside of the pattern, w = r outside
        box = region.box()
        low, high = box if box is not None else (torch.full_like(u, -torch.inf), torch.full_like(u, torch.inf))
        missing = margin - at.margins
        beyond = overshoot * torch.maximum(missing.abs(), NEAR * at.slopes.norm(dim=2))
        needed = missing + torch.where(inside, torch.einsum("blz,bz->bl", at.slopes, carried), beyond)
        needed = needed.masked_fill(~at.asked, -torch.inf)
        least = solve(at.slopes, needed, low - u + carried, high - u + carried)
        idle[rows[least.isnan().any(1)]] = PATIENCE
        share = torch.where(inside, 1 - overshoot, 1.0)
        u = region.project(u + share * (least - carried).nan_to_num(0))
    return SmallestRadius(nearest, best, calls, clean)
