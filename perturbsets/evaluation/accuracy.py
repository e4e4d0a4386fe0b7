"""Accuracy of several classifiers under several adversaries, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Classes, Flags, PerImage, Samples
from perturbsets.adversary import Adversary
from perturbsets.intervals import Interval, difference_interval, independent, share_interval
from perturbsets.objectives.base import check_labels
from perturbsets.objectives.classification import check_finite, check_logits
from perturbsets.objectives.segmentation import IGNORE, check_maps, right
from perturbsets.purity import untouched
from perturbsets.worst import Worst

BATCH = 256


@dataclass(frozen=True)
class AccuracyTable:
    """Which images were classified rightly, for each classifier (row) and adversary (column).

    Attributes:
        correct: Row name and column name to flags ``[seeds, images]``; for segmentation models to shares of pixels.
        groups: Number of each image's independent unit; without them every image is its own.
    """

    correct: Mapping[tuple[str, str], Tensor]
    groups: Tensor | None = None

    @property
    def rows(self) -> list[str]:
        """Names of the classifiers."""
        return list(dict.fromkeys(row for row, _ in self.correct))

    @property
    def columns(self) -> list[str]:
        """Names of the adversaries."""
        return list(dict.fromkeys(column for _, column in self.correct))

    def accuracy(self, row: str, column: str) -> Interval:
        """Mean over images and seeds, with its interval over independent units; seeds of an image count together."""
        return share_interval(self.correct[row, column].T, self.groups)

    def difference(self, row: str, control: str, column: str) -> Interval:
        """By how much a classifier is right more often than another one, image by image, with its interval.

        What the same images have in common cancels, so the interval is narrower than those of both accuracies tell.
        """
        one, other = (self.correct[name, column].T for name in (row, control))
        return difference_interval(one, other, self.groups)

    def differences(self, control: str) -> dict[str, Any]:
        """Every other classifier against one of them, as plain values."""
        return {
            "control": control,
            "rows": {
                row: {column: self.difference(row, control, column)._asdict() for column in self.columns}
                for row in self.rows
                if row != control
            },
        }

    def summary(self) -> dict[str, Any]:
        """The table as plain values."""
        first = next(iter(self.correct.values()))
        return {
            "images": first.shape[1],
            "independent": independent(first.shape[1], self.groups),
            "unit": "images" if first.dtype == torch.bool else "pixels",
            "rows": self.rows,
            "columns": self.columns,
            "accuracy": {
                row: {column: self.accuracy(row, column)._asdict() for column in self.columns} for row in self.rows
            },
        }


@torch.no_grad()
def correct_under(
    model: nn.Module,
    adversary: Adversary | Worst | None,
    images: Samples,
    labels: Tensor,
    *,
    generator: torch.Generator | None = None,
    batch: int = BATCH,
) -> Flags | PerImage:
    """Which images a classifier gets right under an adversary, or which share of their pixels a segmentation model.

    Args:
        model: The model; it is judged in evaluation mode and left as it was.
        adversary: The adversary; ``None`` for the clean images.
        images: Clean images.
        labels: Their classes, or label maps, whose pixels of label 255 do not count.
        generator: For the adversary's draws.
        batch: Images attacked at a time.

    Returns:
        One flag per image; for label maps one share.

    Raises:
        ValueError: If labels or logits are not as they must be, NaN included, or there are no images.
    """
    maps = labels.ndim > 1
    if not maps:
        check_labels(labels, images)
    elif bool((blank := (labels == IGNORE).flatten(1).all(1)).any()):
        raise ValueError(f"labels must count somewhere in every image, got none in {int(blank.sum())}: leave those out")
    if not len(images):
        raise ValueError("images must hold at least one image, got none")
    parts = []
    for x, y in zip(images.split(batch), labels.long().split(batch), strict=True):
        if adversary is None:
            parts.append(right(predictions(model, x, y), y))
            continue
        found = adversary(model, x, y, generator=generator)
        parts.append(right(predictions(model, found.images, y), y) if maps else ~found.reached)
    return torch.cat(parts)


def predictions(model: nn.Module, images: Samples, labels: Classes) -> Classes:
    """The classes that a model predicts in evaluation mode, left as it was.

    Raises:
        ValueError: If labels or logits are not as they must be, NaN included.
    """
    with untouched(model, images.device), torch.no_grad():
        logits = model(images)
    if labels.ndim > 1:
        check_maps(logits, labels)
    else:
        check_logits(logits, labels)
    check_finite(logits.flatten(1))
    return logits.argmax(1)


def evaluate(
    models: Mapping[str, nn.Module | Sequence[nn.Module]],
    adversaries: Mapping[str, Adversary | Worst | None],
    images: Samples,
    labels: Tensor,
    *,
    groups: Tensor | None = None,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> AccuracyTable:
    """Judges classifiers under adversaries. An attack's success is a lower bound on the error.

    Args:
        models: Name to classifier, or to several trained from different seeds.
        adversaries: Name to adversary; ``None`` for the clean images.
        images: Clean test images.
        labels: Their classes, or label maps.
        groups: Number of each image's independent unit: its photograph, scene or person, as ``source.groups`` of many
            sources tells. Intervals are over these; by default every image is its own.
        seed: Seed of the adversaries' draws; every classifier meets the same draws.
        advance: Called after each cell of the table.

    Returns:
        The table.

    Raises:
        ValueError: As :func:`correct_under`.
    """
    correct = {}
    for row, given in models.items():
        trained = [given] if isinstance(given, nn.Module) else list(given)
        for column, adversary in adversaries.items():
            flags = []
            for number, model in enumerate(trained):
                generator = torch.Generator().manual_seed(seed + number)
                flags.append(correct_under(model, adversary, images, labels, generator=generator))
                advance()
            correct[row, column] = torch.stack(flags)
    return AccuracyTable(correct, groups)
