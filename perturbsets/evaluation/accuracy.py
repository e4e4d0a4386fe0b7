"""Accuracy of several classifiers under several adversaries, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from perturbsets._types import Classes, Flags, Model, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.worst import Worst
from perturbsets.evaluation.data import whole
from perturbsets.intervals import Interval, difference_interval, independent, share_interval
from perturbsets.model_call import check_call, class_logits, initial_seed, preserve_state
from perturbsets.objectives.classification import check_finite, check_logits, class_numbers
from perturbsets.objectives.segmentation import check_counted, check_maps, label_maps, share_right
from perturbsets.printing import Result, crossed, percent_interval
from perturbsets.rows import as_tensor, batches, check_count, check_rows, take_rows

BATCH = 256


@dataclass(frozen=True)
class AccuracyTable(Result):
    """Which images were classified correctly, for each classifier (row) and adversary (column).

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
        """Accuracy of a classifier minus that of another, with its interval.

        The images are the same, so the interval is narrower than those of both accuracies suggest.
        """
        one, other = (self.correct[name, column].T for name in (row, control))
        return difference_interval(one, other, self.groups)

    def differences(self, control: str) -> dict[str, Any]:
        """Differences of all other classifiers from one of them, as plain values."""
        rows = {
            row: {column: self.difference(row, control, column)._asdict() for column in self.columns}
            for row in self.rows
            if row != control
        }
        return {"control": control, "rows": rows}

    @property
    def sentence(self) -> str:
        """The size of the table, or its one figure."""
        count = next(iter(self.correct.values())).shape[1]
        if len(self.correct) > 1:
            return f"Accuracy of {len(self.rows)} models under {len(self.columns)} adversaries on {count} images"
        [(row, column)] = self.correct
        return f"Accuracy of {row} under {column} {percent_interval(self.accuracy(row, column))} of {count}"

    def table(self) -> Table:
        """Accuracies in percent with their intervals."""
        cells = {key: percent_interval(self.accuracy(*key)).replace(" % [", " %\n[") for key in self.correct}
        return crossed("accuracy\n95 % interval", cells)

    def summary(self) -> dict[str, Any]:
        """The table as plain values."""
        first = next(iter(self.correct.values()))
        columns = self.columns
        return {
            "images": first.shape[1],
            "independent": independent(first.shape[1], self.groups),
            "unit": "images" if first.dtype == torch.bool else "pixels",
            "rows": self.rows,
            "columns": columns,
            "accuracy": {row: {name: self.accuracy(row, name)._asdict() for name in columns} for row in self.rows},
        }


@torch.no_grad()
def correct_under(
    model: Model,
    adversary: Adversary | Worst | None,
    images: Samples,
    labels: Any,
    *,
    generator: torch.Generator | None = None,
    batch: int = BATCH,
) -> Flags | PerImage:
    """Which images a classifier gets right under an adversary; for segmentation models which share of their pixels.

    Args:
        model: The model; evaluated in evaluation mode and left as it was.
        adversary: The adversary; ``None`` for the clean images.
        images: Clean images.
        labels: What the adversary's objective needs; for clean images as for :func:`correct`.
        generator: For the adversary's draws.
        batch: Images attacked at a time.

    Returns:
        One flag per image, whether the attack failed; for label maps one share of pixels.

    Raises:
        ValueError: If labels or logits are not as they must be, NaN included, or there are no images.
    """
    check_call(model, images)
    if not len(images):
        raise ValueError("images must hold at least one image, got none")
    check_rows("labels", labels, len(images))
    if adversary is not None:
        check_count(adversary, len(images))
    parts = []
    for rows in batches(images, batch):
        x, y = images[rows], take_rows(labels, rows)
        if adversary is None:
            parts.append(correct(model, x, y))
            continue
        result = adversary.select(rows)(model, x, y, generator=generator)
        objective = adversary.judge if isinstance(adversary, Worst) else adversary.objective
        parts.append(correct(model, result.images, y) if objective.per_pixel else ~result.success)
    return torch.cat(parts)


def correct(model: Model, images: Samples, labels: Any) -> Flags | PerImage:
    """Which clean images a model gets right in evaluation mode; for logits per pixel which share of their pixels.

    Labels are classes ``[B]`` or ``[B, 1]``, or label maps, whose pixels of label 255 do not count.

    Raises:
        ValueError: If labels or logits are not as they must be, NaN included.
    """
    labels = as_tensor(labels)
    if labels.is_floating_point():
        raise ValueError(
            "labels must be classes or label maps of whole numbers for the accuracy on clean images, got "
            f"{labels.dtype}: write labels.long() where they are; "
            'for other labels take an adversary of radius 0, such as Adversary(PixelBall("linf", 0.0), objective)'
        )
    logits = _finite_logits(model, images)
    if labels.ndim == 1 or (logits.ndim == 2 and labels.ndim == 2):
        classes = class_numbers(labels, images)
        check_logits(logits, classes)
        return logits.argmax(1) == classes
    maps = label_maps(labels, images)
    check_maps(logits, maps)
    check_counted(maps)
    return share_right(logits.argmax(1), maps)


def predictions(model: Model, images: Samples) -> Classes:
    """The classes that a model predicts in evaluation mode, left as it was.

    Raises:
        ValueError: If logits are not as they must be, NaN included.
    """
    return _finite_logits(model, images).argmax(1)


def _finite_logits(model: Model, images: Samples) -> Tensor:
    with preserve_state(model, images) as bare, torch.no_grad():
        logits = class_logits(bare, images)
    check_finite(logits.flatten(1))
    return logits


def evaluate(
    models: Mapping[str, Model | Sequence[Model]],
    adversaries: Mapping[str, Adversary | Worst | None],
    images: Any,
    labels: Any = None,
    *,
    fields: Sequence[str] | None = None,
    groups: Tensor | None = None,
    generator: torch.Generator | None = None,
    advance: Callable[[], None] = lambda: None,
) -> AccuracyTable:
    """Accuracy of classifiers under adversaries: upper bounds, since an attack may miss what another finds.

    Args:
        models: Name to classifier, or to several trained from different seeds.
        adversaries: Name to adversary; ``None`` for the clean images.
        images: Clean test images; or a data set or data loader of images and labels.
        labels: As for :func:`correct_under`; left out where they come with the images.
        fields: Of a data set of mappings, the names of image and label.
        groups: Number of each image's independent unit, its photograph, scene or person (``source.groups`` of many
            sources). Intervals are over these; by default every image is its own.
        generator: Gives the seed of the adversaries' draws, its initial one (0 without a generator): every classifier
            is attacked with the same draws.
        advance: Called after each cell of the table.

    Raises:
        ValueError: As :func:`correct_under`.
    """
    models_of = {row: list(given) if isinstance(given, Sequence) else [given] for row, given in models.items()}
    images, labels, groups = whole(next(iter(models_of.values()), [None])[0], images, labels, fields, groups)
    correct = {}
    for row, trained in models_of.items():
        for column, adversary in adversaries.items():
            flags = []
            for number, model in enumerate(trained):
                draws = torch.Generator().manual_seed(initial_seed(generator) + number)
                flags.append(correct_under(model, adversary, images, labels, generator=draws))
                advance()
            correct[row, column] = torch.stack(flags)
    return AccuracyTable(correct, groups)
