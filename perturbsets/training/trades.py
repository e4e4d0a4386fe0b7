"""TRADES and MART: cross-entropy and the divergence between clean and adversarial predictions."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from perturbsets._types import Labels, Logits, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.worst import Worst
from perturbsets.ascents.projected_gradient import GradientAscent
from perturbsets.objectives.divergence import KLDivergence, divergence
from perturbsets.training.method import Classifier, OneUpdate, Update, paired_forward


@dataclass(frozen=True)
class TRADES(OneUpdate):
    r"""Cross-entropy on clean images, and the divergence of the worst prediction in the set from the clean one.

    .. math:: \ell(f_\theta(x), y) + \beta \max_{x' \in S(x)} \mathrm{KL}\big(p_\theta(x) \,\|\, p_\theta(x')\big)

    Accuracy in the records is that on the changed images.

    Args:
        adversary: The inner maximisation, on any set, with the objective :class:`KLDivergence` and an ascent that
            does not start at the image, where the gradient of the divergence is zero; leave ``stop_on_success`` off.
        beta: :math:`\beta \ge 0`; the paper's 1 to 6 trade accuracy for robustness.

    Raises:
        ValueError: If the adversary has another objective, starts at zero or stops on success, or beta is not finite
            or negative.

    References:
        Zhang et al., *Theoretically principled trade-off between robustness and accuracy*, 2019, eq. 5 and algorithm 1.
    """

    adversary: Adversary
    _: KW_ONLY
    beta: float = 6.0

    def __post_init__(self) -> None:
        objective, ascent = self.adversary.objective, self.adversary.ascent
        if not isinstance(objective, KLDivergence):
            raise ValueError(
                f"adversary must have the objective KLDivergence, got {type(objective).__name__}: write "
                "Adversary(perturbations, KLDivergence(), ascent)"
            )
        if isinstance(ascent, GradientAscent) or getattr(ascent, "starts", None) == "zero":
            raise ValueError(
                f"adversary must not start at zero, where the divergence has no gradient, got {type(ascent).__name__}: "
                'give an ascent with starts="uniform"'
            )
        if getattr(ascent, "stop_on_success", False):
            raise ValueError(
                "adversary must not stop on success, since the divergence may be higher elsewhere, got "
                "stop_on_success=True: write dataclasses.replace(ascent, stop_on_success=False)"
            )
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta must be a finite number of 0 or more, got {self.beta}")

    def prepare(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        return self.adversary(bare, images, labels, generator=generator, rank="value").images

    def losses(self, model: Classifier, images: Samples, prepared: Samples, labels: Labels) -> Update:
        clean, changed = paired_forward(model, images, prepared, labels)
        natural = F.cross_entropy(clean, labels, reduction="none")
        return natural + self.beta * divergence(clean.log_softmax(1), changed), changed


@dataclass(frozen=True)
class MART(OneUpdate):
    r"""Boosted cross-entropy on the worst image, and a divergence weighted by how unsure the clean prediction is.

    .. math:: -\ln p_y(x') - \ln\big(1 - \max_{k \ne y} p_k(x')\big)
        + \lambda\, \mathrm{KL}\big(p(x) \,\|\, p(x')\big)\, \big(1 - p_y(x)\big)

    Accuracy in the records is that on the changed images.

    Args:
        adversary: The inner maximisation, on any set; the paper raises cross-entropy.
        beta: :math:`\beta \ge 0`.

    Raises:
        ValueError: If beta is not finite or negative.

    References:
        Wang et al., *Improving adversarial robustness requires revisiting misclassified examples*, 2020.
    """

    adversary: Adversary | Worst
    _: KW_ONLY
    beta: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta must be a finite number of 0 or more, got {self.beta}")

    def prepare(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        return self.adversary(bare, images, labels, generator=generator, rank="value").images

    def losses(self, model: Classifier, images: Samples, prepared: Samples, labels: Labels) -> Update:
        clean, changed = paired_forward(model, images, prepared, labels)
        unsure = -torch.expm1(-F.cross_entropy(clean, labels, reduction="none"))
        return boosted(changed, labels) + self.beta * unsure * divergence(clean.log_softmax(1), changed), changed


def boosted(logits: Logits, labels: Labels) -> PerImage:
    r"""Cross-entropy plus a penalty for the best wrong class, :math:`-\ln p_y - \ln(1 - \max_{k \ne y} p_k)`.

    The second term is a difference of log-sums over all classes and over all but that one, exact where the
    probability rounds to 1.
    """
    wrong = logits.scatter(1, labels[:, None], float("-inf")).argmax(1, keepdim=True)
    rest = logits.scatter(1, wrong, float("-inf"))
    return F.cross_entropy(logits, labels, reduction="none") + logits.logsumexp(1) - rest.logsumexp(1)
