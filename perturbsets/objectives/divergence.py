"""Kullback-Leibler divergence from the clean prediction: the objective of TRADES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from perturbsets._types import Flags, Labels, Logits, Model, Offsets, PerImage, Rows, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.classification import check_logits, class_numbers


class DivergenceLoss(Loss):
    """Kullback-Leibler divergence from clean predictions."""

    calls = 1

    def __init__(self, model: Model, clean: Logits, labels: Labels) -> None:
        self.model, self.clean, self.labels = model, clean, labels

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = class_logits(self.model, images)
        return divergence(self.clean, logits), logits.detach().argmax(1) != self.labels

    def select(self, rows: Rows) -> DivergenceLoss:
        return DivergenceLoss(self.model, self.clean[rows], self.labels[rows])


def divergence(clean: Logits, logits: Logits) -> PerImage:
    r"""Divergence :math:`\mathrm{KL}(p \| q)` of the predictions q of logits from clean ones, given as logarithms."""
    return F.kl_div(logits.log_softmax(1), clean, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class KLDivergence(Objective):
    r"""Divergence of the prediction from that on the clean sample; labels only define success.

    .. math:: \ell(x', x) = \sum_k p_k(x) \ln \frac{p_k(x)}{p_k(x')}

    Its gradient is zero at the clean sample itself, so an ascent must start elsewhere.

    References:
        Zhang et al., *Theoretically principled trade-off between robustness and accuracy*, 2019, eq. 5 (TRADES).
    """

    def at(self, model: Model | None, images: Samples, labels: Any) -> DivergenceLoss:
        """Binds to a classifier and class numbers ``[B]``, ``None`` for the clean predictions, computed once.

        Raises:
            ValueError: If there is no model, or labels or logits are not as they must be.
        """
        if model is None:
            raise ValueError("model must be a classifier for this objective, got None")
        held = None if labels is None else class_numbers(labels, images)
        with torch.no_grad():
            clean = class_logits(model, images)
        held = clean.argmax(1) if held is None else held
        check_logits(clean, held)
        return DivergenceLoss(model, clean.log_softmax(1), held)
