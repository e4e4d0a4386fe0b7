"""Objectives and accuracy of segmentation: a class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from perturbsets._types import Classes, Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import as_tensor

Maps = Int64[Tensor, "B *place"]

IGNORE = 255
"""Label of pixels that do not count."""


def pixel_cross_entropy(logits: Tensor, maps: Maps) -> PerImage:
    """Mean cross-entropy of logits ``[B, K, ...]`` over the labelled pixels of each image; 0 where no pixel counts."""
    losses = F.cross_entropy(logits, maps, reduction="none", ignore_index=IGNORE)
    return losses.flatten(1).sum(1) / _counted(maps)


def share_right(predicted: Maps, maps: Maps) -> PerImage:
    """Share of the labelled pixels of each image that have their class; 0 where no pixel counts."""
    return ((predicted == maps) & (maps != IGNORE)).flatten(1).sum(1) / _counted(maps)


def right(predicted: Classes, labels: Classes) -> Flags | PerImage:
    """Whether each image has its class, or for label maps the share of its labelled pixels that have theirs."""
    return predicted == labels if labels.ndim == 1 else share_right(predicted, labels)


def check_maps(logits: Tensor, maps: Maps) -> None:
    """Refuses logits that are not one score per class and pixel of the maps, and labels outside their classes."""
    if logits.ndim < 3 or (len(logits), *logits.shape[2:]) != tuple(maps.shape):
        raise ValueError(
            f"model must return logits [B, K, ...] for label maps {list(maps.shape)}, got {list(logits.shape)}: wrap "
            "it so that it returns a score per class and pixel at the labels' size"
        )
    counted = maps[maps != IGNORE]
    if len(counted):
        low, high = (int(bound) for bound in counted.aminmax())
        if low < 0 or high >= logits.shape[1]:
            raise ValueError(
                f"labels must be within 0 and {logits.shape[1] - 1} or ignore={IGNORE}, got {low} to {high}: "
                "classes count from 0"
            )


def label_maps(labels: Any, images: Samples) -> Maps:
    """Labels as a class number per pixel, on the device of the images.

    Raises:
        ValueError: If they are no whole numbers ``[B, ...]`` or ``[B, 1, ...]``, as a tensor, array or list.
    """
    labels = as_tensor(labels)
    if labels.ndim < 2 or len(labels) != len(images) or labels.is_floating_point():
        raise ValueError(
            f"labels must be a class number per pixel, [{len(images)}, ...], got {list(labels.shape)} of "
            f"{labels.dtype}: write labels.long() where they are classes"
        )
    maps = labels.to(images.device).long()
    if maps.ndim == images.ndim and maps.shape[1] == 1:
        maps = maps.squeeze(1)
    return maps


def check_counted(maps: Maps) -> None:
    """Refuses images without a labelled pixel, which have no accuracy."""
    blank = (maps == IGNORE).flatten(1).all(1)
    if bool(blank.any()):
        raise ValueError(f"labels must count somewhere in every image, got none in {int(blank.sum())}: leave those out")


def _counted(maps: Maps) -> Tensor:
    return (maps != IGNORE).flatten(1).sum(1).clamp_min(1)


class SegmentationLoss(Loss):
    """Mean cross-entropy over the labelled pixels of each image."""

    def __init__(self, model: Model, labels: Maps, goal: float) -> None:
        self.model, self.labels, self.goal = model, labels, goal

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = class_logits(self.model, images)
        check_maps(logits, self.labels)
        right = share_right(logits.detach().argmax(1), self.labels)
        return pixel_cross_entropy(logits, self.labels), right <= self.goal

    def select(self, rows: Rows) -> SegmentationLoss:
        return SegmentationLoss(self.model, self.labels[rows], self.goal)


@dataclass(frozen=True, kw_only=True)
class SegmentationCrossEntropy(Objective):
    r"""Cross-entropy of the true class of every pixel, averaged over the labelled pixels of an image.

    .. math:: \ell(z, y) = \frac{1}{|P|} \sum_{p \in P} \Big( -z_{y_p, p} + \ln \sum_k e^{z_{k, p}} \Big)

    Args:
        goal: Share of right pixels, in [0, 1), at or below which the attack succeeds.

    Raises:
        ValueError: If the goal is outside of its range.
    """

    goal: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.goal < 1:
            raise ValueError(f"goal must be a share in [0, 1), got {self.goal}")

    @property
    def per_pixel(self) -> bool:
        return True

    def at(self, model: Model | None, images: Samples, labels: Any) -> SegmentationLoss:
        """Binds to a segmentation model and label maps ``[B, ...]``."""
        if model is None:
            raise ValueError("model must be a segmentation model for this objective, got None")
        return SegmentationLoss(model, label_maps(labels, images), self.goal)
