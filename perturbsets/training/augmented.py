"""A perturbation set as data augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Classes, Samples
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import OneUpdate


@dataclass(frozen=True)
class Augmented(OneUpdate):
    """Cross-entropy on draws from a set: the set as data augmentation.

    Args:
        perturbations: The set.
    """

    perturbations: PerturbationSet

    @torch.no_grad()
    def shown(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        region = self.perturbations.at(images)
        return region.decode(region.sample(generator=generator))
