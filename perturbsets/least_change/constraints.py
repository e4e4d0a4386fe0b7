"""The constraints that a pattern of labels puts on offsets, made linear where a search stands."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from perturbsets import model_call
from perturbsets._types import Flags, LabelLogits, Model, Offsets, Samples, States
from perturbsets.label_states import check_label_logits
from perturbsets.objectives.classification import check_finite
from perturbsets.sets.base import Region


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
    reached: Flags


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
    return Constraints(asked, margins, slopes, images.detach(), pattern_reached(logits.detach(), targets, margin))


def pattern_reached(logits: LabelLogits, targets: States, margin: float) -> Flags:
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
