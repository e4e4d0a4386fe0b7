"""Towards one of the wrong classes that the model itself finds likeliest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from perturbsets._types import Model, Samples
from perturbsets.objectives.base import Objective
from perturbsets.objectives.classification import ClassifierLoss, bind
from perturbsets.objectives.dlr import DLR
from perturbsets.objectives.margin import margin


@dataclass(frozen=True)
class StrongestWrong(Objective):
    r"""A targeted objective whose target is the k-th strongest wrong class of the clean sample.

    .. math:: t = \text{the class of the } k\text{-th largest } z_j(x), \; j \ne y

    The goal is reached as soon as *any* wrong class is predicted: the target only says which way to go. Several
    adversaries of different rank, in :class:`~perturbsets.Worst`, look into several directions.

    Args:
        rank: Number k of the wrong class, 1 for the strongest.
        objective: The targeted objective.

    Raises:
        ValueError: If the rank is below 1, or the objective is not a targeted one over logits.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, sec. 4 (APGD-T, there with targeted DLR).
    """

    rank: int = 1
    objective: Objective = field(default_factory=lambda: DLR(targeted=True))

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, the strongest wrong class, got {self.rank}")
        if not getattr(self.objective, "targeted", False):
            raise ValueError(f"objective must be a targeted one, such as DLR(targeted=True), got {self.objective}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> ClassifierLoss:
        """Binds to a classifier and true classes ``[B]``; asks it for its clean predictions once.

        Raises:
            ValueError: If labels do not fit, or there are not as many wrong classes as the rank.
        """
        clean = bind(model, images, labels, margin, targeted=False)
        with torch.no_grad():
            logits = clean.logits(images)
        classes = logits.shape[1]
        if self.rank >= classes:
            raise ValueError(
                f"rank must be within 1 and {classes - 1} for a model of {classes} classes, got {self.rank}"
            )
        wrong = logits.scatter(1, clean.labels[:, None], float("-inf"))
        targets = wrong.topk(self.rank, dim=1).indices[:, -1]
        toward = self.objective.at(model, images, targets)
        if not isinstance(toward, ClassifierLoss):
            raise ValueError(f"objective must be one over the logits of a classifier, got {self.objective}")
        loss = ClassifierLoss(toward.model, targets, toward.score, targeted=True, truth=clean.labels)
        loss.calls = toward.calls + 1
        return loss
