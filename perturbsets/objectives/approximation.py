"""How near a set comes to a given image: the objective of the necessary subset property."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perturbsets._types import Flags, Offsets, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss, Objective


class ApproximationLoss(Loss):
    """Minus the mean squared error to given images.

    Args:
        changed: The images to come near to.
    """

    def __init__(self, changed: Samples) -> None:
        self.changed = changed

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        value = -(images - self.changed).square().flatten(1).mean(1)
        return value, torch.zeros_like(value, dtype=torch.bool)

    def keep(self, rows: Rows) -> ApproximationLoss:
        return ApproximationLoss(self.changed[rows])


@dataclass(frozen=True)
class ApproximationError(Objective):
    r"""Minus the squared error per pixel between a member of the set and a given changed image.

    .. math:: \ell(x', \tilde x) = -\tfrac1m \|x' - \tilde x\|^2

    An adversary with this objective searches the *nearest* member; no model is asked, and the goal counts
    as never reached.
    """

    def at(self, model: nn.Module | None, images: Samples, labels: Tensor) -> ApproximationLoss:
        """Binds to changed images, given in the place of labels.

        Raises:
            ValueError: If their shape is not that of the clean ones.
        """
        if labels.shape != images.shape:
            raise ValueError(
                f"labels must be the changed images {list(images.shape)} for this objective, got {list(labels.shape)}"
            )
        return ApproximationLoss(labels.to(images))
