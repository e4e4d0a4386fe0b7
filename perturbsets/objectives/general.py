"""Objectives of any model and set: a plain function, a penalty on the offsets, and the distance to given images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, Offsets, OneOrEach, PerImage, Rows, Samples
from perturbsets.model_call import output
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import check_rows, for_each, set_per_image, take_rows

Function = Callable[[Any, Any], Tensor]


class FunctionLoss(Loss):
    """A function of the model's output and the labels."""

    def __init__(self, model: Model | None, labels: Any, function: Function, success: Function | None) -> None:
        self.model, self.labels, self.function, self.success = model, labels, function, success

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        returned = images if self.model is None else output(self.model, images)
        values = self.function(returned, self.labels)
        if not isinstance(values, Tensor) or values.shape != images.shape[:1] or not values.is_floating_point():
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"function must return one floating-point value per image, [{len(images)}], got {got}: do not reduce "
                "over images, e.g. reduction='none'"
            )
        if self.success is None:
            return values, torch.zeros_like(values, dtype=torch.bool)
        with torch.no_grad():
            return values, self.success(returned, self.labels)

    def select(self, rows: Rows) -> FunctionLoss:
        return FunctionLoss(self.model, take_rows(self.labels, rows), self.function, self.success)


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """Any function of output and labels, raised.

    Args:
        function: Called with the model's output and the labels; one value per image, higher is worse for the model.
        success: Called with the same; one flag per image. Without it no attack succeeds, and the highest value counts.

    Example:
        >>> brightest = FunctionObjective(lambda output, _: output.flatten(1).mean(1))
        >>> x = torch.zeros(2, 1, 2, 2)
        >>> brightest.at(None, x, None)(x, x.flatten(1))[0]
        tensor([0., 0.])
    """

    function: Function
    _: KW_ONLY
    success: Function | None = None

    def at(self, model: Model | None, images: Samples, labels: Any) -> FunctionLoss:
        """Binds to a model, or to none, and to labels of any kind.

        Labels are a tensor, array or list with an entry per image, such as the targets of a detector, or a mapping of
        such; or ``None``, a number or a string for all images.

        Raises:
            ValueError: If labels, or at a call the function's values, are not one per image.
        """
        check_rows("labels", labels, len(images))
        return FunctionLoss(model, labels, self.function, self.success)


class PenalizedLoss(Loss):
    """A loss minus the penalty of the offsets."""

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
        weight = for_each(self.weight, images, "weight")
        return PenalizedLoss(self.objective.at(model, images, labels), weight)


class ApproximationLoss(Loss):
    """Minus the mean squared error to given images."""

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
        """Binds to changed images of the shape of the clean ones, given in the place of labels."""
        if labels.shape != images.shape:
            raise ValueError(
                f"labels must be the changed images {list(images.shape)} for this objective, got {list(labels.shape)}"
            )
        like = images.new_empty(len(images), dtype=torch.promote_types(images.dtype, torch.float32))
        tolerance = for_each(-1.0 if self.tolerance is None else self.tolerance, like, "tolerance")
        return ApproximationLoss(labels.to(images), tolerance)
