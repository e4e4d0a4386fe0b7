"""MART: adversarial training that minds which images are misclassified."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from perturbsets._types import Labels, Logits, PerImage, Samples
from perturbsets.adversary import Adversary
from perturbsets.objectives.divergence import divergence
from perturbsets.training.method import Classifier, OneUpdate, Update
from perturbsets.training.together import together
from perturbsets.worst import Worst


@dataclass(frozen=True)
class MART(OneUpdate):
    r"""Boosted cross-entropy on the worst image, and a divergence that counts more the less sure the clean image is.

    .. math:: -\ln p_y(x') - \ln\big(1 - \max_{k \ne y} p_k(x')\big)
        + \lambda\, \mathrm{KL}\big(p(x) \,\|\, p(x')\big)\, \big(1 - p_y(x)\big)

    Accuracy in the records is that on the changed images.

    Args:
        adversary: The inner maximisation, on any set; the paper raises cross-entropy.
        weight: :math:`\lambda \ge 0`.

    Raises:
        ValueError: If the weight is not finite or negative.

    References:
        Wang et al., *Improving adversarial robustness requires revisiting misclassified examples*, 2020.
    """

    adversary: Adversary | Worst
    weight: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must be a finite number of 0 or more, got {self.weight}")

    def shown(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        return self.adversary(bare, images, labels, generator=generator, rank="value").images

    def losses(self, model: Classifier, images: Samples, shown: Samples, labels: Labels) -> Update:
        clean, changed = together(model, images, shown, labels)
        unsure = -torch.expm1(-F.cross_entropy(clean, labels, reduction="none"))
        return boosted(changed, labels) + self.weight * unsure * divergence(clean.log_softmax(1), changed), changed


def boosted(logits: Logits, labels: Labels) -> PerImage:
    r"""Cross-entropy plus the price of the best wrong class, :math:`-\ln p_y - \ln(1 - \max_{k \ne y} p_k)`.

    The second term is a difference of log-sums over all classes and over all but that one, exact where the
    probability rounds to 1.
    """
    wrong = logits.scatter(1, labels[:, None], float("-inf")).argmax(1, keepdim=True)
    rest = logits.scatter(1, wrong, float("-inf"))
    return F.cross_entropy(logits, labels, reduction="none") + logits.logsumexp(1) - rest.logsumexp(1)
