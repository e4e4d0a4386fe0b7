"""The search under every least change: linearise, take the least step that should suffice, and look again."""

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


class Constraints(NamedTuple):
    r"""The constraints :math:`m_j + \nabla m_j^\top r \ge \gamma` of labels j at offsets u, r a step from there.

    Attributes:
        asked: Which labels have a state asked for.
        margins: :math:`m_j = y^*_j s_j(u)` with :math:`y^*_j` 1 for on and -1 for off, and the logit :math:`s_j`; 0
            where nothing is asked.
        slopes: Gradients of the margins in the offsets; 0 likewise, and where they are NaN or infinite.
        images: The samples at u.
        reached: Whether every label asked for has its state, by the margin :math:`\gamma` at least.
    """

    asked: Bool[Tensor, "B L"]
    margins: Float[Tensor, "B L"]
    slopes: Float[Tensor, "B L Z"]
    images: Samples
    success: Flags


def constraints(model: Model, region: Region, targets: States, offsets: Offsets, *, margin: float = 0.0) -> Constraints:
    """Makes the constraints of a pattern linear, by one forward pass and a backward pass for each label asked for.

    Args:
        model: Samples to logits ``[B, L]``.
        region: A set bound to the images.
        targets: States asked for, NaN where a label is free.
        offsets: Where.
        margin: Smallest margin γ of a logit to 0. A label is on above 0, so that at γ = 0 a logit of 0 is off.

    Returns:
        Constraints in the type of the offsets.

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
        slope = _slope(logits[:, label].sum(), u)  # images are independent
        slopes[:, label] = signs[:, label, None] * slope.nan_to_num(0, 0, 0)
    margins = signs * logits.detach().to(u.dtype)
    return Constraints(asked, margins, slopes, images.detach(), pattern_success(logits.detach(), targets, margin))


def pattern_success(logits: LabelLogits, targets: States, margin: float) -> Flags:
    """Whether every label asked for has its state, by a margin of its logit at least.

    Args:
        logits: Logits of the labels.
        targets: States asked for, NaN where a label is free.
        margin: The margin γ.
    """
    right = ((logits > 0) == (targets == 1)) & (logits.abs() >= margin)
    return (right | targets.isnan()).all(1)


def _slope(value: Float[Tensor, ""], offsets: Offsets) -> Offsets:
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, offsets, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "model must have a gradient at the offsets, got logits without one: let no step from samples to logits "
            "detach or count"
        )
    return gradient


Solve = Callable[[Tensor, Tensor, Offsets, Offsets], Offsets]
"""From rows A, needed b, and a box: the least w within it with A w at least b; NaN where there is none."""
BETTER = 1e-3  # share of the norm that a find must gain
PATIENCE = 3  # rounds without one
NEAR = 1e-3  # distance to a boundary, in offsets, of which a share is gone beyond at least


def least_change(
    model: Model,
    images: Samples,
    targets: Tensor,
    perturbations: PerturbationSet,
    solve: Solve,
    norm: Callable[[Offsets], PerImage],
    *,
    steps: int,
    overshoot: float,
    margin: float,
) -> SmallestRadius:
    r"""Goes to the linearised pattern until it is reached, then along it towards zero offsets.

    .. math:: u \leftarrow \begin{cases}
        u + \arg\min \{\|r\| : m_j + \nabla m_j^\top r \ge \gamma + \eta\, |m_j - \gamma|\} &
        \text{the pattern is not reached at } u \\
        u + (1 - \eta) (w - u),\ w = \arg\min \{\|w\| : m_j + \nabla m_j^\top (w - u) \ge \gamma\} & \text{it is}
        \end{cases}

    with the margins m of the labels asked for. The first form ends a share η of what a margin lacked beyond the
    boundary, and leaves as much of what it had; the second stays inside. So nothing that counts as found lies on a
    boundary within rounding, and a better find has to be nearer by a thousandth; an image without one in 3 rounds is
    done.

    Args:
        model: The multi-label classifier; judged in evaluation mode and left as it was.
        images: Clean samples.
        targets: States asked for, NaN where a label is free.
        perturbations: The set.
        solve: Gives the least vectors in a box that meet linear constraints.
        norm: What is least.
        steps: Largest number of rounds.
        overshoot: Share η.
        margin: Margin γ, in logits.

    Returns:
        Norms, samples and calls.

    Raises:
        ValueError: If a setting is outside its range, nothing can climb in the set, or samples, targets or logits are
            not as they must be.
    """
    if steps < 1 or not 0 < overshoot < 1 or not margin >= 0:
        raise ValueError(
            "steps must be at least 1, overshoot in (0, 1) and margin 0 or more, got "
            f"steps={steps}, overshoot={overshoot}, margin={margin}"
        )
    with preserve_state(model, images.device) as model:
        images = images.detach().clone()
        region = perturbations.at(images)
        if not region.searchable:
            raise ValueError(f"perturbations must be a set that can be climbed, got {type(perturbations).__name__}")
        targets = label_states(ordinary(targets), len(images), each_known=False).to(images.device)
        u, best = region.centre(), images.clone()
        nearest = u.new_full((len(u),), torch.inf)
        calls = torch.zeros(len(u), dtype=torch.int64, device=u.device)
        clean = torch.zeros(len(u), dtype=torch.bool, device=u.device)
        idle, rows = torch.zeros_like(calls), torch.arange(len(u), device=u.device)
        for step in range(steps + 1 if len(u) else 0):
            found = constraints(model, region, targets, u, margin=margin)
            calls[rows] += 1
            if step == 0:
                clean = found.success
                if not torch.equal(found.images, images):  # offset 0 of a learned set is not the sample itself
                    clean = pattern_success(model_call.logits(model, images).detach(), targets, margin)
                    calls += 1
            size = norm(u)
            gained = found.success & (size < (1 - BETTER) * nearest[rows])
            idle[rows] = torch.where(gained, 0, idle[rows] + nearest[rows].isfinite())
            nearest[rows[gained]], best[rows[gained]] = size[gained], found.images[gained]
            on = (nearest[rows] > 0) & (idle[rows] < PATIENCE)
            if step == steps or not bool(on.any()):
                break
            if not bool(on.all()):
                left = on.nonzero()[:, 0]
                region, u, targets, rows = region.select(left), u[left], targets[left], rows[left]
                found = type(found)(*(part[left] for part in found))
            inside = found.success[:, None]
            carried = u * inside  # w = u + r is least inside of the pattern, w = r outside
            box = region.box()
            low, high = box if box is not None else (torch.full_like(u, -torch.inf), torch.full_like(u, torch.inf))
            lacking = margin - found.margins
            beyond = overshoot * torch.maximum(lacking.abs(), NEAR * found.slopes.norm(dim=2))
            needed = lacking + torch.where(inside, torch.einsum("blz,bz->bl", found.slopes, carried), beyond)
            needed = needed.masked_fill(~found.asked, -torch.inf)
            least = solve(found.slopes, needed, low - u + carried, high - u + carried)
            idle[rows[least.isnan().any(1)]] = PATIENCE
            share = torch.where(inside, 1 - overshoot, 1.0)
            u = region.project(u + share * (least - carried).nan_to_num(0))
        return SmallestRadius(nearest, best, calls, clean)
