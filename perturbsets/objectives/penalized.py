"""An objective minus a penalty on the size of the offsets."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from perturbsets._types import Flags, Model, Offsets, OneOrEach, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import for_each, set_per_image


class PenalizedLoss(Loss):
    """A loss minus the penalty of the offsets.

    Args:
        loss: What to raise.
        weight: Penalty of a squared unit of offset, one per image.
    """

    def __init__(self, loss: Loss, weight: PerImage) -> None:
        self.loss, self.weight, self.calls = loss, weight, loss.calls

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        value, success = self.loss(images, offsets)
        return value - self.weight * offsets.square().sum(1), success

    def select(self, rows: Rows) -> PenalizedLoss:
        return PenalizedLoss(self.loss.select(rows), self.weight[rows])


@dataclass(frozen=True)
class Penalized(Objective):
    r"""Another objective minus a penalty on the squared length of the offsets.

    .. math:: \ell(x', u) - c \|u\|_2^2

    With targeted cross-entropy in the box of the pixel bounds this is the L-BFGS attack of Szegedy et al.;
    ``bisect(..., over="weight")`` finds the largest weight at which it still succeeds.

    Args:
        objective: What to raise.
        weight: Weight :math:`0 \le c < \infty` of the penalty; a number, or one per image.

    Raises:
        ValueError: If a weight is outside its range.

    References:
        Szegedy et al., *Intriguing properties of neural networks*, 2014, sec. 4.1.
    """

    per_image: ClassVar[tuple[str, ...]] = ("weight",)
    objective: Objective
    _: KW_ONLY
    weight: OneOrEach = 1.0

    def __post_init__(self) -> None:
        expected = "0 or more and finite, a number or one per image"
        set_per_image(self, "weight", lambda c: (c >= 0) & c.isfinite(), expected)

    @property
    def per_pixel(self) -> bool:
        return self.objective.per_pixel

    def at(self, model: Model | None, images: Samples, labels: Any) -> PenalizedLoss:
        """Binds to what the other objective binds to.

        Raises:
            ValueError: As the other objective, or if there is one weight per image, but not for these.
        """
        weight = for_each(self.weight, images, "weight")
        return PenalizedLoss(self.objective.at(model, images, labels), weight)
