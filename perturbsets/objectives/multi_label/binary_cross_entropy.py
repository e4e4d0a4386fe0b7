"""Binary cross-entropy of each label, averaged over those whose state is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from perturbsets._types import LabelLogits, Model, PerImage, PerLabel, Samples, States
from perturbsets.objectives.multi_label.base import MultiLabelLoss, MultiLabelObjective, bind
from perturbsets.objectives.multi_label.goals import Wrong, as_asked, check_wrong, some_wrong


def binary_cross_entropy(
    logits: LabelLogits, states: States, weights: PerLabel | None = None, positive: PerLabel | None = None
) -> PerImage:
    r"""Mean binary cross-entropy over the known labels of each image.

    .. math:: -\frac{1}{|K|} \sum_{j \in K} w_j
        \big( p_j z_j \ln \sigma(s_j) + (1 - z_j) \ln (1 - \sigma(s_j)) \big)

    with s the logits, z the states and K the labels whose state is known.

    Args:
        logits: One for each label.
        states: 1 on, 0 off, NaN unknown.
        weights: Weight :math:`w_j \ge 0` of each label; 1 if not given.
        positive: Further weight :math:`p_j > 0` of each label where it is on; 1 if not given.

    Returns:
        One number per image; 0 where no state is known.

    Example:
        >>> logits, states = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, torch.nan]])
        >>> binary_cross_entropy(logits, states).exp()
        tensor([2.])
    """
    known = ~states.isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits,
        states.nan_to_num().to(logits.dtype),
        weight=None if weights is None else weights.to(logits),
        pos_weight=None if positive is None else positive.to(logits),
        reduction="none",
    )
    return losses.where(known, 0).sum(1) / known.sum(1).clamp_min(1)


@dataclass(frozen=True)
class BinaryCrossEntropy(MultiLabelObjective):
    r"""Binary cross-entropy of the true states of an image's labels (raised), or of asked-for ones (lowered).

    .. math:: \ell(s, z) = -\frac{1}{|K|} \sum_{j \in K} w_j
        \big( z_j \ln \sigma(s_j) + (1 - z_j) \ln (1 - \sigma(s_j)) \big)

    with s the logits, z the states and K the labels whose state is known. Untargeted, the value is :math:`\ell`, which
    is maximised; the goal is reached when ``"any"`` or ``"all"`` of the known labels are wrong. Targeted, the value is
    :math:`-\ell`, so that :math:`\ell` is minimised; the goal is reached when every label has the state asked for.
    A label whose state is NaN is left alone: it counts neither for the value nor for the goal.

    Args:
        targeted: Whether the states given are targets, such as those of :func:`~perturbsets.label_states.altered`.
        weights: Weight :math:`w_j \ge 0` of each label in the value, not all 0; 1 if not given. The goal knows none.
        goal: Of the untargeted form, which known labels must be wrong.

    Raises:
        ValueError: If weights or goal are none of these.

    Example:
        >>> from torch import nn
        >>> loss = BinaryCrossEntropy().at(nn.Identity(), torch.rand(1, 2), torch.tensor([[1, 0]]))
        >>> logits = torch.tensor([[2.0, 1.0]])  # both are on, the second wrongly
        >>> loss(logits, logits)[1]
        tensor([True])
    """

    targeted: bool = False
    weights: tuple[float, ...] | None = None
    goal: Wrong = "any"

    def __post_init__(self) -> None:
        check_wrong(self.goal)
        if self.weights is not None and not (
            all(0 <= weight < math.inf for weight in self.weights) and any(self.weights)  # NaN fails too
        ):
            raise ValueError(f"weights must be 0 or more and finite, one for each label, not all 0, got {self.weights}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        """Binds to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown or free.

        Raises:
            ValueError: If states do not fit the samples or the weights.
        """
        weights = None if self.weights is None else torch.tensor(self.weights, device=images.device)
        sign = -1 if self.targeted else 1

        def value(logits: LabelLogits, states: States) -> PerImage:
            return sign * binary_cross_entropy(logits, states, weights)

        loss = bind(model, images, labels, value, as_asked if self.targeted else some_wrong(self.goal))
        if weights is not None and len(weights) != loss.states.shape[1]:
            raise ValueError(f"weights must be one for each of the {loss.states.shape[1]} labels, got {len(weights)}")
        return loss
