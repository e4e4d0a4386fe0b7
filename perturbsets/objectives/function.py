"""An objective made of a plain function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Flags, Offsets, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss, Objective

Function = Callable[[Any, Any], Tensor]


class FunctionLoss(Loss):
    """A function of the model's output and the labels.

    Args:
        model: Samples to anything; ``None`` hands the samples themselves to the function.
        labels: What the function gets beside the output.
        function: Output and labels to one value per image.
        reached: Output and labels to one flag per image; ``None`` for a goal that is never reached.
    """

    def __init__(self, model: nn.Module | None, labels: Any, function: Function, reached: Function | None) -> None:
        self.model, self.labels, self.function, self.reached = model, labels, function, reached

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        output = images if self.model is None else self.model(images)
        values = self.function(output, self.labels)
        if not isinstance(values, Tensor) or values.shape != images.shape[:1] or not values.is_floating_point():
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"function must return one floating-point value per image, [{len(images)}], got {got}: leave images "
                "apart, e.g. reduction='none'"
            )
        if self.reached is None:
            return values, torch.zeros_like(values, dtype=torch.bool)
        with torch.no_grad():
            return values, self.reached(output, self.labels)

    def keep(self, rows: Rows) -> FunctionLoss:
        labels = self.labels[rows] if isinstance(self.labels, Tensor) else self.labels
        return FunctionLoss(self.model, labels, self.function, self.reached)


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """Any function of output and labels, raised.

    Args:
        function: Called with the model's output and the labels; one value per image, higher is worse for the model.
        reached: Called likewise; one flag per image. Without it the goal is never reached, and the highest value wins.

    Example:
        >>> brightest = FunctionObjective(lambda output, _: output.flatten(1).mean(1))
        >>> x = torch.zeros(2, 1, 2, 2)
        >>> brightest.at(None, x, None)(x, x.flatten(1))[0]
        tensor([0., 0.])
    """

    function: Function
    reached: Function | None = None

    def at(self, model: nn.Module | None, images: Samples, labels: Any) -> FunctionLoss:
        """Binds to a model, or to none, and to labels of any kind; a tensor of them is shared out by image.

        Raises:
            ValueError: At a call, if the function does not return one value per image.
        """
        return FunctionLoss(model, labels, self.function, self.reached)
