"""Cross-entropy, the loss that most attacks raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F

from perturbsets._types import Labels, Logits, Model, PerImage, Samples
from perturbsets.objectives.base import Objective
from perturbsets.objectives.classification import ClassifierLoss, bind


@dataclass(frozen=True)
class CrossEntropy(Objective):
    r"""Cross-entropy of the true class (raised), or of a target class (lowered).

    .. math:: \ell(z, y) = -z_y + \ln \sum_k e^{z_k}

    The goal is reached when the predicted class is not the true one, or is the target.

    Args:
        targeted: Whether the labels given are targets.
    """

    targeted: bool = False

    def at(self, model: Model | None, images: Samples, labels: Any) -> ClassifierLoss:
        """Binds to a classifier and class numbers ``[B]``.

        Raises:
            ValueError: If labels do not fit the samples.
        """
        return bind(model, images, labels, _cross_entropy, targeted=self.targeted)


def _cross_entropy(logits: Logits, labels: Labels) -> PerImage:
    return F.cross_entropy(logits, labels, reduction="none")
