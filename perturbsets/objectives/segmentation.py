"""Cross-entropy of maps: a class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from perturbsets._types import Flags, Offsets, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss, Objective

Maps = Int64[Tensor, "B *place"]


class SegmentationLoss(Loss):
    """Mean cross-entropy over the labelled pixels of each image.

    Args:
        model: Samples to logits ``[B, K, ...]``.
        labels: Class of each pixel.
        goal: Share of right pixels at or below which the goal is reached.
        ignore: Label of pixels that do not count.
    """

    def __init__(self, model: nn.Module, labels: Maps, goal: float, ignore: int) -> None:
        self.model, self.labels, self.goal, self.ignore = model, labels, goal, ignore

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = self.model(images)
        counted = self.labels != self.ignore
        self._check(logits, counted)
        losses = F.cross_entropy(logits, self.labels, reduction="none", ignore_index=self.ignore)
        number = counted.flatten(1).sum(1).clamp_min(1)
        right = ((logits.detach().argmax(1) == self.labels) & counted).flatten(1).sum(1)
        return losses.flatten(1).sum(1) / number, right <= self.goal * number

    def _check(self, logits: Tensor, counted: Tensor) -> None:
        if logits.ndim < 3 or (len(logits), *logits.shape[2:]) != tuple(self.labels.shape):
            raise ValueError(
                f"model must return logits [B, K, ...] for label maps {list(self.labels.shape)}, got "
                f"{list(logits.shape)}: wrap it so that it returns a score per class and pixel at the labels' size"
            )
        if counted.any():
            low, high = (int(bound) for bound in self.labels[counted].aminmax())
            if low < 0 or high >= logits.shape[1]:
                raise ValueError(
                    f"labels must be within 0 and {logits.shape[1] - 1} or ignore={self.ignore}, got {low} to {high}"
                )

    def keep(self, rows: Rows) -> SegmentationLoss:
        return SegmentationLoss(self.model, self.labels[rows], self.goal, self.ignore)


@dataclass(frozen=True)
class SegmentationCrossEntropy(Objective):
    r"""Cross-entropy of the true class of every pixel, averaged over the labelled pixels of an image.

    .. math:: \ell(z, y) = \frac{1}{|P|} \sum_{p \in P} \Big( -z_{y_p, p} + \ln \sum_k e^{z_{k, p}} \Big)

    Args:
        goal: Share of right pixels, in [0, 1), at or below which the goal is reached.
        ignore: Label of pixels that do not count.

    Raises:
        ValueError: If the goal is outside of its range.
    """

    goal: float = 0.0
    ignore: int = 255

    def __post_init__(self) -> None:
        if not 0 <= self.goal < 1:
            raise ValueError(f"goal must be a share in [0, 1), got {self.goal}")

    def at(self, model: nn.Module | None, images: Samples, labels: Tensor) -> SegmentationLoss:
        """Binds to a segmentation model and label maps ``[B, ...]``.

        Raises:
            ValueError: If there is no model, or labels are no maps of whole numbers.
        """
        if model is None:
            raise ValueError("model must be a segmentation model for this objective, got None")
        if labels.ndim < 2 or len(labels) != len(images) or labels.is_floating_point():
            raise ValueError(
                f"labels must be a class number per pixel, [{len(images)}, ...], got {list(labels.shape)} of "
                f"{labels.dtype}"
            )
        return SegmentationLoss(model, labels.to(images.device).long(), self.goal, self.ignore)
