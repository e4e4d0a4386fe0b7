"""Distance to a given image: the objective of the necessary subset property."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, Offsets, OneOrEach, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import for_each, set_per_image


class ApproximationLoss(Loss):
    """Minus the mean squared error to given images.

    Args:
        changed: The images to approximate.
        tolerance: Per image the error that counts as success; negative for none.
    """

    def __init__(self, changed: Samples, tolerance: PerImage) -> None:
        self.changed, self.tolerance = changed, tolerance

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        value = -(images - self.changed).square().flatten(1).mean(1)
        return value, -value <= self.tolerance

    def select(self, rows: Rows) -> ApproximationLoss:
        return ApproximationLoss(self.changed[rows], self.tolerance[rows])


@dataclass(frozen=True, kw_only=True)
class ApproximationError(Objective):
    r"""Minus the squared error per pixel between a member of the set and a given changed image.

    .. math:: \ell(x', \tilde x) = -\tfrac1m \|x' - \tilde x\|^2

    An adversary with this objective searches the *nearest* member; it needs no model. With a tolerance, an error of at
    most that is a success, and :func:`~perturbsets.bisect` gives the smallest radius for it.

    Args:
        tolerance: The mean squared error that counts as success; a number, or one per image. Without it nothing does.

    Raises:
        ValueError: If a tolerance is negative or NaN.
    """

    per_image: ClassVar[tuple[str, ...]] = ("tolerance",)
    tolerance: OneOrEach | None = None

    def __post_init__(self) -> None:
        set_per_image(self, "tolerance", lambda t: t >= 0, "0 or more, a mean squared error per pixel")

    def at(self, model: Model | None, images: Samples, labels: Tensor) -> ApproximationLoss:
        """Binds to changed images, given in the place of labels.

        Raises:
            ValueError: If their shape is not that of the clean ones.
        """
        if labels.shape != images.shape:
            raise ValueError(
                f"labels must be the changed images {list(images.shape)} for this objective, got {list(labels.shape)}"
            )
        like = images.new_empty(len(images), dtype=torch.promote_types(images.dtype, torch.float32))
        tolerance = for_each(-1.0 if self.tolerance is None else self.tolerance, like, "tolerance")
        return ApproximationLoss(labels.to(images), tolerance)
