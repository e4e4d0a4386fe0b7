"""Training on clean images, on draws from a set, or on normal noise in its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import nn

from perturbsets._types import Classes, Samples
from perturbsets.sets.base import PerturbationSet
from perturbsets.sets.standardized import Standardized
from perturbsets.training.method import OneUpdate


@dataclass(frozen=True)
class StandardTraining(OneUpdate):
    """Cross-entropy on the clean images."""

    def prepare(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        return images


@dataclass(frozen=True)
class AugmentedTraining(OneUpdate):
    """Cross-entropy on draws from a set: the set as data augmentation."""

    perturbations: PerturbationSet

    @torch.no_grad()
    def prepare(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        region = self.perturbations.at(images)
        return region.decode(region.sample(generator=generator))


@dataclass(frozen=True)
class NoiseAugmentedTraining(OneUpdate):
    r"""Cross-entropy on images under normal noise in the parameters of a set, as randomised smoothing needs.

    .. math:: \min_\theta \mathbb E\, \ell\big(f_\theta(g(x, \sigma \eta)), y\big), \qquad \eta \sim N(0, I)

    The noise is that of :class:`perturbsets.Smoothed`: it goes beyond the set's radius, where a classifier trained
    without it is hardly better than chance.

    Args:
        perturbations: A set with an L2 ball, or a composition of such sets.
        sigma: Standard deviation of the noise, in the set's own unit; of a composed set one for each part.

    Raises:
        ValueError: If ``sigma`` is not positive and finite.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019, sec. 3.3.
    """

    perturbations: PerturbationSet
    _: KW_ONLY
    sigma: float | Sequence[float]

    def __post_init__(self) -> None:
        Standardized(self.perturbations, sigma=self.sigma)

    @torch.no_grad()
    def prepare(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        region = Standardized(self.perturbations, sigma=self.sigma).at(images)
        shape, device = (len(images), region.size), generator.device
        noise = torch.randn(shape, dtype=region.dtype, generator=generator, device=device)
        return region.decode(noise.to(images.device))
