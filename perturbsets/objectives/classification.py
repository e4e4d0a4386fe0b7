"""What objectives over the logits of a classifier share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Labels, Logits, Model, Offsets, PerImage, Rows, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.base import Loss, class_numbers

Score = Callable[[Logits, Labels], PerImage]


class ClassifierLoss(Loss):
    """A score of logits, bound to a classifier and labels.

    Args:
        model: Samples to logits ``[B, K]``.
        labels: True classes, or targets.
        score: Value per image; the goal of the untargeted form is to raise it.
        targeted: Whether labels are classes to reach rather than to leave.
        truth: True classes beside targets: then leaving them is the goal, wherever to; of the targeted form only.
    """

    def __init__(
        self, model: Model, labels: Labels, score: Score, *, targeted: bool, truth: Labels | None = None
    ) -> None:
        self.model, self.labels, self.score, self.targeted, self.truth = model, labels, score, targeted, truth
        self._checked = False

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = self.logits(images)
        predicted = logits.detach().argmax(1)
        value = self.score(logits, self.labels)
        if self.truth is not None:
            return -value, predicted != self.truth
        if self.targeted:
            return -value, predicted == self.labels
        return value, predicted != self.labels

    def logits(self, images: Samples) -> Logits:
        """What the model returns, checked at the first call."""
        logits = class_logits(self.model, images)
        if not self._checked:
            check_logits(logits, self.labels)
            self._checked = True
        return logits

    def keep(self, rows: Rows) -> ClassifierLoss:
        truth = None if self.truth is None else self.truth[rows]
        kept = ClassifierLoss(self.model, self.labels[rows], self.score, targeted=self.targeted, truth=truth)
        kept._checked = self._checked
        return kept


def bind(model: Model | None, images: Samples, labels: Any, score: Score, *, targeted: bool) -> ClassifierLoss:
    """Binds a score to a classifier.

    Raises:
        ValueError: If there is no model, or labels do not fit the samples.
    """
    if model is None:
        raise ValueError("model must be a classifier for this objective, got None")
    return ClassifierLoss(model, class_numbers(labels, images), score, targeted=targeted)


def check_finite(logits: Logits) -> None:
    """Refuses logits that are NaN or infinite: their largest would be a prediction that is none.

    Raises:
        ValueError: If any is not finite.
    """
    broken = int((~logits.isfinite().all(1)).sum())
    if broken:
        raise ValueError(
            f"model must return finite logits, got NaN or infinity on {broken} of {len(logits)} images: train it again"
        )


def check_logits(logits: Tensor, labels: Labels) -> None:
    """Refuses what is no matrix of logits, and labels outside its classes.

    Raises:
        ValueError: The message names what was expected and what came.
    """
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(
            f"model must return logits [B, K] with B = {len(labels)}, got {list(logits.shape)}: a model of logits per "
            "pixel is attacked by SegmentationCrossEntropy, another one by a FunctionObjective"
        )
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"model must return logits of at least 1 class, [B, 1] or [B, K], got {classes}")
    if labels.numel():
        low, high = (int(bound) for bound in torch.aminmax(labels))
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels must be within 0 and {classes - 1} for a model of {classes} classes, got {low} to {high}: "
                "classes count from 0"
            )
