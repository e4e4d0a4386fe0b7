"""Training losses per image: what a classifier is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from perturbsets._types import Images, Labels, Logits, PerImage
from perturbsets.adversary import Adversary
from perturbsets.objectives.classification import check_logits
from perturbsets.purity import untouched
from perturbsets.sets.base import PerturbationSet
from perturbsets.worst import Worst


class Method(ABC):
    """A way to train; one frozen dataclass each."""

    @abstractmethod
    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Images, labels: Labels, generator: torch.Generator
    ) -> tuple[PerImage, Logits]:
        """Loss of each image, and the logits it comes from.

        Args:
            model: The model to train, perhaps wrapped for several processes: its passes share gradients.
            bare: The same model without wrapper, for passes that must not.
            images: Clean images.
            labels: Their classes.
            generator: For everything drawn.
        """


@dataclass(frozen=True)
class Standard(Method):
    """Cross-entropy on the clean images."""

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Images, labels: Labels, generator: torch.Generator
    ) -> tuple[PerImage, Logits]:
        return _loss(model, images, labels)


@dataclass(frozen=True)
class Augmented(Method):
    """Cross-entropy on draws from a set: the set as data augmentation.

    Args:
        perturbations: The set.
    """

    perturbations: PerturbationSet

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Images, labels: Labels, generator: torch.Generator
    ) -> tuple[PerImage, Logits]:
        with torch.no_grad():
            region = self.perturbations.at(images)
            drawn = region.decode(region.sample(generator=generator))
        return _loss(model, drawn, labels)


@dataclass(frozen=True)
class Adversarial(Method):
    r"""Cross-entropy on the worst images an adversary finds.

    .. math:: \min_\theta \mathbb E \max_{x' \in S(x)} \ell(f_\theta(x'), y)

    Args:
        adversary: The inner maximisation, on any set.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018.
    """

    adversary: Adversary | Worst

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Images, labels: Labels, generator: torch.Generator
    ) -> tuple[PerImage, Logits]:
        found = self.adversary(bare, images, labels, generator=generator)
        return _loss(model, found.images, labels)


@dataclass(frozen=True)
class LargerOfBoth(Method):
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

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Images, labels: Labels, generator: torch.Generator
    ) -> tuple[PerImage, Logits]:
        found = self.adversary(bare, images, labels, generator=generator)
        with untouched(bare, images.device), torch.no_grad():
            clean, changed = _loss(bare, images, labels)[0], _loss(bare, found.images, labels)[0]
        chosen = (clean >= changed)[:, None, None, None]
        return _loss(model, torch.where(chosen, images, found.images), labels)


def _loss(model: nn.Module, images: Images, labels: Labels) -> tuple[PerImage, Logits]:
    logits = model(images)
    check_logits(logits, labels)
    return F.cross_entropy(logits, labels, reduction="none"), logits
