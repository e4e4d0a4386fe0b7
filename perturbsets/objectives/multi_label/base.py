"""What objectives over the states of many labels share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perturbsets import model_call
from perturbsets._types import Flags, LabelLogits, Model, Offsets, PerImage, Rows, Samples, States
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.multi_label.goals import Goal

Value = Callable[[LabelLogits, States], PerImage]


class MultiLabelLoss(Loss):
    """A value of the logits of labels, bound to a model and states.

    Args:
        model: Samples to logits ``[B, L]``, one for each label; a label is on where its logit is above 0.
        states: True states, or targets.
        value: What is raised, per image.
        goal: Whether an image counts as turned.
    """

    def __init__(self, model: Model, states: States, value: Value, goal: Goal) -> None:
        self.model, self.states, self.value, self.goal = model, states, value, goal
        self._checked = False

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = model_call.logits(self.model, images)
        if not self._checked:
            check_label_logits(logits, self.states)
            self._checked = True
        return self.value(logits, self.states), self.goal(logits.detach(), self.states)

    def keep(self, rows: Rows) -> MultiLabelLoss:
        kept = MultiLabelLoss(self.model, self.states[rows], self.value, self.goal)
        kept._checked = self._checked
        return kept


class MultiLabelObjective(Objective):
    """What an adversary of a multi-label classifier maximises."""

    def attainable(self, states: States) -> Flags:
        """The images whose states leave something to reach; binding refuses others.

        Args:
            states: True states, or targets ``[B, L]``.
        """
        return (~states.isnan()).any(1)


def bind(model: Model | None, images: Samples, labels: Any, value: Value, goal: Goal) -> MultiLabelLoss:
    """Binds a value and a goal to a multi-label classifier.

    Raises:
        ValueError: If there is no model, or labels are no states of the labels of these images.
    """
    if model is None:
        raise ValueError("model must be a multi-label classifier for this objective, got None")
    return MultiLabelLoss(model, label_states(labels, len(images)).to(images.device), value, goal)
