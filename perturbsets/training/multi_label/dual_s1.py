"""Scheme S1: a classifier on clean images, and on those that fool a multi-label classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Samples
from perturbsets.training.multi_label.helped import Example, HelpedByLabels, check_share
from perturbsets.training.targets import DualTargets


@dataclass(frozen=True)
class DualS1(HelpedByLabels):
    r"""Cross-entropy on clean images and on the helper's adversarial ones.

    .. math:: (1 - \lambda)\, \ell(f_\theta(x), y) + \lambda\, \ell(f_\theta(x'_\omega), y)

    No gradient of the classifier goes into an example. For the helper, the rules and their arguments see
    :class:`HelpedByLabels`. Accuracy in the records is that on the helper's adversarial images.

    Args:
        weight: :math:`\lambda`, in [0, 1].

    Raises:
        ValueError: If the weight is outside of its range, or as :class:`HelpedByLabels`.

    Example:
        >>> from perturbsets import Adversary, BinaryCrossEntropy, DualConvNet, OneStep, PixelBall
        >>> fool = Adversary(PixelBall("linf", 0.1), BinaryCrossEntropy(), OneStep(or_stay=False))
        >>> model = DualConvNet(1, 8, 8, classes=3, labels=2)
        >>> targets = DualTargets(torch.tensor([0, 2]), torch.tensor([[1.0, 0.0], [torch.nan, 1.0]]))
        >>> ((losses, logits),) = DualS1(fool)(model, model, torch.rand(2, 1, 8, 8), targets, torch.Generator())
        >>> logits.shape
        torch.Size([2, 3])
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.weight)

    def examples(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> list[Example]:
        fooling = self._fool_helper(bare, images, labels, generator).images
        clean, own = self._lessons
        return [Example(images, 1 - self.weight, clean), Example(fooling, self.weight, own)]
