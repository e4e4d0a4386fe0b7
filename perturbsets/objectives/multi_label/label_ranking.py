"""Whether labels that are off stand above labels that are on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from perturbsets._types import Flags, LabelLogits, Model, PerImage, Samples, States
from perturbsets.objectives.multi_label.base import MultiLabelLoss, MultiLabelObjective, bind
from perturbsets.row_names import named_rows


@dataclass(frozen=True)
class LabelRanking(MultiLabelObjective):
    r"""How far the highest label that is off stands above the lowest that is on (raised), or a target's (lowered).

    .. math:: r(s, T) = \max_{j \notin T} s_j - \min_{j \in T} s_j

    with s the logits and T the labels that are on. Untargeted, T are the true labels and the value is r, which is
    maximised; the goal is reached where :math:`r > 0`, when some label that is off stands above some that is on.
    Targeted, T are those of the target and the value is :math:`-r`, so that r is minimised; the goal is reached where
    :math:`r < 0`, when all of T stand above all others. Labels whose state is NaN are in neither group.

    There is no :math:`[\cdot]_+` around r: where the ranking is right, it would leave the untargeted form without a
    gradient. The thresholds of the labels play no part.

    Args:
        targeted: Whether the states given are targets.

    References:
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (attacks on rankings of labels).

    Example:
        >>> from torch import nn
        >>> import torch
        >>> loss = LabelRanking().at(nn.Identity(), torch.rand(1, 3), torch.tensor([[1, 0, 1]]))
        >>> logits = torch.tensor([[2.0, 1.0, 1.5]])
        >>> loss(logits, logits)
        (tensor([-0.5000]), tensor([False]))
    """

    targeted: bool = False

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        """Binds to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown or free.

        Raises:
            ValueError: If states do not fit the samples, or an image has no label that is on, or none that is off.
        """
        sign = -1 if self.targeted else 1

        def value(logits: LabelLogits, states: States) -> PerImage:
            return sign * _inversion(logits, states)

        def turned(logits: LabelLogits, states: States) -> Flags:
            return value(logits, states) > 0

        loss = bind(model, images, labels, value, turned)
        one_kind = ~self.attainable(loss.states)
        if bool(one_kind.any()):
            raise ValueError(
                f"labels must be on and off in each image to be ranked, got only one kind in {named_rows(one_kind)}: "
                "leave these out"
            )
        return loss

    def attainable(self, states: States) -> Flags:
        return (states == 1).any(1) & (states == 0).any(1)


def _inversion(logits: LabelLogits, states: States) -> PerImage:
    highest = logits.masked_fill(states != 0, -math.inf).amax(1)  # NaN is unlike 0 and 1
    return highest - logits.masked_fill(states != 1, math.inf).amin(1)
