"""What an objective is, and what it becomes when bound to a model and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from perturbsets._types import Flags, Labels, Model, Offsets, PerImage, Rows, Samples
from perturbsets.per_image import PerImageSettings
from perturbsets.rows import as_tensor


class Loss(ABC):
    """An objective bound to a model and the labels of a batch.

    Attributes:
        calls: Forward passes that binding spent on each image, such as one for clean predictions.
        success_first: Whether a point that reaches the goal is better than any point that does not; otherwise the
            higher value is better, whatever is reached.
    """

    calls: int = 0
    success_first: bool = True

    @abstractmethod
    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        """Judges a batch.

        Args:
            images: The changed samples.
            offsets: Where in the set they come from; an objective may put a price on them.

        Returns:
            A value per image, higher is worse for the model, and whether the goal is reached; both from
            one forward pass.
        """

    @abstractmethod
    def select(self, rows: Rows) -> Loss:
        """The loss of some of the images."""


class ByValue(Loss):
    """A loss of which the highest value is wanted, whether or not it reaches the goal.

    Args:
        loss: What to raise.
    """

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
            ValueError: If labels do not fit the samples.
        """


def class_numbers(labels: Any, images: Samples) -> Labels:
    """Labels as one class number per image, on the device of the images.

    Args:
        labels: Whole numbers ``[B]`` or ``[B, 1]``, as a tensor, array or list.
        images: The images that they belong to.

    Raises:
        ValueError: If shape or type are others; the message names what came.
    """
    labels, count = as_tensor(labels), len(images)
    if labels.shape not in ((count,), (count, 1)) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be one whole class number per image, [{count}] or [{count}, 1], got {list(labels.shape)} of "
            f"{labels.dtype}: {_advice(labels, count)}"
        )
    return labels.reshape(count).to(images.device).long()


def _advice(labels: Tensor, count: int) -> str:
    """What to write in place of labels that are no class numbers."""
    if labels.ndim == 0:
        return "one image needs a batch too, write images[None] and labels[None]"
    if labels.shape in ((count,), (count, 1)):
        return "write labels.long() where they are classes, and take a FunctionObjective for another target"
    if labels.ndim == 2 and len(labels) == count:
        return "write labels.argmax(1) where they are one-hot, and take BinaryCrossEntropy for several labels per image"
    if labels.ndim > 2 and len(labels) == count:
        return "take SegmentationCrossEntropy for a class per pixel"
    return "give one for each image"
