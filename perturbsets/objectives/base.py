"""Objectives, and losses: objectives bound to a model and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from perturbsets._types import Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.rows import PerImageSettings


class Loss(ABC):
    """An objective bound to a model and the labels of a batch.

    Attributes:
        calls: Forward passes that binding spent on each image, such as one for clean predictions.
        success_first: Whether any success is better than any failure; otherwise the higher value is better.
    """

    calls: int = 0
    success_first: bool = True

    @abstractmethod
    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        """The value of each changed sample, higher is worse for the model, and whether the attack succeeds.

        Both come from one forward pass. An objective may penalise the offsets in the set.
        """

    @abstractmethod
    def select(self, rows: Rows) -> Loss:
        """The loss of some of the images."""


class ByValue(Loss):
    """A loss ranked by value alone, whether or not the attack succeeds."""

    success_first = False

    def __init__(self, loss: Loss) -> None:
        self.loss, self.calls = loss, loss.calls

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        return self.loss(images, offsets)

    def select(self, rows: Rows) -> ByValue:
        return ByValue(self.loss.select(rows))


class Objective(PerImageSettings, ABC):
    """What an adversary maximises."""

    @property
    def per_pixel(self) -> bool:
        """Whether labels are maps, so that accuracy counts pixels rather than images."""
        return False

    @abstractmethod
    def at(self, model: Model | None, images: Samples, labels: Any) -> Loss:
        """Binds the objective to a model, clean samples and their labels.

        Raises:
            ValueError: If the objective needs a model and there is none, or labels do not fit it or the samples.
        """
