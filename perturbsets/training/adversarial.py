"""Adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Classes, Samples
from perturbsets.adversary import Adversary
from perturbsets.training.method import OneUpdate
from perturbsets.worst import Worst


@dataclass(frozen=True)
class Adversarial(OneUpdate):
    r"""Cross-entropy on the worst images an adversary finds.

    .. math:: \min_\theta \mathbb E \max_{x' \in S(x)} \ell(f_\theta(x'), y)

    With projected gradient it is Madry's training. One step alone may overfit all of a sudden to itself: see
    :class:`FastAdversarial`. The worst image is that of the highest value of the adversary's objective, here and in
    every method of training, whether or not it is misclassified.

    Args:
        adversary: The inner maximisation, on any set.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018.

    Example:
        >>> from perturbsets import CrossEntropy, PixelBall, ProjectedGradient
        >>> climb = ProjectedGradient(40, step_size=0.01)
        >>> madry = Adversarial(Adversary(PixelBall("linf", 0.3), CrossEntropy(), climb))
    """

    adversary: Adversary | Worst

    def shown(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        return self.adversary(bare, images, labels, generator=generator, rank="value").images
