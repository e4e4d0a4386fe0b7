"""GradAlign: gradients that agree within the set, against catastrophic overfitting to one step."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perturbsets._types import Labels, Logits, Offsets, PerImage, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.classification import check_logits
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import Classifier, OneUpdate, Update
from perturbsets.training.weight_perturbation import AdversarialWeightPerturbation


@dataclass(frozen=True)
class GradientAlignment(OneUpdate):
    r"""Another method's loss, and a penalty where gradients at the centre and at a random point differ in direction.

    .. math:: \ell + \lambda \big(1 - \cos(\nabla_u \ell(g(x, 0), y),\ \nabla_u \ell(g(x, u'), y))\big),
        \qquad u' \text{ uniform in } B

    One step then raises the loss about as far as many, and training against it does not collapse. The gradients of
    offsets are differentiated again, for about three times the cost of the method's own passes; images without a
    gradient have no penalty.

    Args:
        method: The method whose loss it is.
        perturbations: The set in which gradients are to agree.
        weight: :math:`\lambda \ge 0`; 0.2 is the paper's for radius 8/255 on CIFAR-10.

    Raises:
        ValueError: If the weight is not finite or negative, or the method perturbs weights.

    References:
        Andriushchenko and Flammarion, *Understanding and improving fast adversarial training*, 2020.
    """

    method: OneUpdate
    _: KW_ONLY
    perturbations: PerturbationSet
    weight: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must be a finite number of 0 or more, got {self.weight}")
        if isinstance(self.method, AdversarialWeightPerturbation):
            raise ValueError(
                "method must not move weights, got AdversarialWeightPerturbation: write "
                "AdversarialWeightPerturbation(GradientAlignment(method, ...)), which aligns gradients there"
            )

    def prepare(
        self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator
    ) -> tuple[Any, Offsets]:
        prepared = self.method.prepare(bare, images, labels, generator)
        return prepared, self.perturbations.at(images).random_start(generator=generator)

    def losses(self, model: Classifier, images: Samples, prepared: tuple[Any, Offsets], labels: Labels) -> Update:
        region = self.perturbations.at(images)
        inside, drawn = prepared
        ends = [offsets.detach().requires_grad_() for offsets in (region.centre(), drawn)]
        extended = _Extended(model, torch.cat([region.decode(offsets) for offsets in ends]))
        losses, logits = self.method.losses(extended, images, inside, labels)
        check_logits(extended.logits, labels.repeat(2))
        values = F.cross_entropy(extended.logits, labels.repeat(2), reduction="sum")
        first, second = torch.autograd.grad(values, ends, create_graph=True)
        return losses + self.weight * misalignment(first, second), logits


class _Extended:
    """A model that adds further samples to its one pass, and stores their logits."""

    logits: Tensor

    def __init__(self, model: Classifier, samples: Samples) -> None:
        self.model, self.samples = model, samples

    def __call__(self, samples: Samples) -> Logits:
        logits = class_logits(self.model, torch.cat([samples, self.samples]))
        self.logits = logits[len(samples) :]
        return logits[: len(samples)]


def misalignment(first: Offsets, second: Offsets) -> PerImage:
    r"""One minus the cosine between gradients; 0 where one of them is zero."""
    # The cosine is blind to scale, and squares of small gradients are zero in single precision.
    first, second = (g / g.detach().abs().amax(1, keepdim=True).clamp_min(1e-30) for g in (first, second))
    lengths = first.square().sum(1) * second.square().sum(1)
    moving = lengths > 0
    return (1 - (first * second).sum(1) / lengths.where(moving, 1.0).sqrt()).where(moving, 0.0)
