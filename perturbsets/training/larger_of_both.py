"""Training on the clean or the adversarial image, whichever is worse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Labels, Samples
from perturbsets.adversary import Adversary
from perturbsets.purity import untouched
from perturbsets.training.method import OneUpdate, cross_entropy
from perturbsets.worst import Worst


@dataclass(frozen=True)
class LargerOfBoth(OneUpdate):
    r"""Per image the larger of the clean and the adversarial loss.

    .. math:: \max\{\ell(f_\theta(x), y),\ \ell(f_\theta(x'), y)\}

    The image whose loss is larger is chosen first, and only that one is trained on, so the cost is one
    forward pass more than adversarial training.

    Args:
        adversary: The inner maximisation, on any set.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 5 (adversarial
        training with learned sets).
    """

    adversary: Adversary | Worst

    def shown(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        found = self.adversary(bare, images, labels, generator=generator, rank="value").images
        with untouched(bare, images.device), torch.no_grad():
            clean, changed = (cross_entropy(bare, x, labels)[0] for x in (images, found))
        chosen = (clean >= changed).view(-1, *[1] * (images.ndim - 1))
        return torch.where(chosen, images, found)
