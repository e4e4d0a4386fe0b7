"""An objective made of a plain function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.model_call import output
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import check_rows, take_rows

Function = Callable[[Any, Any], Tensor]


class FunctionLoss(Loss):
    """A function of the model's output and the labels.

    Args:
        model: Samples to anything; ``None`` gives the samples themselves to the function.
        labels: What the function takes after the output.
        function: Output and labels to one value per image.
        success: Output and labels to one flag per image; ``None`` if there is no success.
    """

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

        Args:
            model: Samples to anything.
            images: Clean samples.
            labels: A tensor, array or list with an entry per image, such as the targets of a detector, or a mapping of
                such; ``None``, a number or a string for all images.

        Raises:
            ValueError: If labels have not one entry per image; at a call, if the function does not return one value
                per image.
        """
        check_rows("labels", labels, len(images))
        return FunctionLoss(model, labels, self.function, self.success)
