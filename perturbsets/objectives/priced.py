"""An objective with a price on the offsets: near is better than far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from perturbsets._types import Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss, Objective


class PricedLoss(Loss):
    """A loss less the price of the offsets.

    Args:
        loss: What to raise.
        weight: Price of a squared unit of offset, one per image.
    """

    def __init__(self, loss: Loss, weight: PerImage) -> None:
        self.loss, self.weight, self.calls = loss, weight, loss.calls

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        value, reached = self.loss(images, offsets)
        return value - self.weight * offsets.square().sum(1), reached

    def keep(self, rows: Rows) -> PricedLoss:
        return PricedLoss(self.loss.keep(rows), self.weight[rows])


@dataclass(frozen=True)
class Priced(Objective):
    r"""Another objective less a price on the squared length of the offsets.

    .. math:: \ell(x', u) - c \|u\|_2^2

    With targeted cross-entropy in the box of the pixel bounds this is the first adversarial attack of all;
    ``bisect(..., over="weight")`` finds the largest price at which it still succeeds.

    Args:
        objective: What to raise.
        weight: Price :math:`0 \le c < \infty`; a number, or one per image.

    Raises:
        ValueError: If a weight is outside its range.

    References:
        Szegedy et al., *Intriguing properties of neural networks*, 2014, sec. 4.1.
    """

    objective: Objective
    weight: float | PerImage = 1.0

    def __post_init__(self) -> None:
        weights = torch.as_tensor(self.weight)
        if not bool(((weights >= 0) & weights.isfinite()).all()):
            raise ValueError(f"weight must be 0 or more and finite, a number or one per image, got {self.weight}")

    @property
    def per_pixel(self) -> bool:
        return self.objective.per_pixel

    def at(self, model: Model | None, images: Samples, labels: Any) -> PricedLoss:
        """Binds to what the other objective binds to.

        Raises:
            ValueError: As the other objective, or if there is one weight per image, but not for these.
        """
        weight = torch.as_tensor(self.weight).to(images)
        if weight.ndim and weight.shape != images.shape[:1]:
            raise ValueError(
                f"weight must be a number or one per image, got {list(weight.shape)} weights for {len(images)} images"
            )
        return PricedLoss(self.objective.at(model, images, labels), weight.expand(len(images)))
