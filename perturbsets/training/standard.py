"""Training on clean images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Classes, Samples
from perturbsets.training.method import OneUpdate


@dataclass(frozen=True)
class Standard(OneUpdate):
    """Cross-entropy on the clean images."""

    def shown(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        return images
