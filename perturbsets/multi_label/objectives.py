"""Binary cross-entropy of each label, averaged over those whose state is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from perturbsets import model_call
from perturbsets._types import Flags, LabelLogits, Model, Offsets, PerImage, PerLabel, Rows, Samples, States
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.base import Loss, Objective

# When a pattern of labels counts as turned, or as the one asked for.


Goal = Callable[[LabelLogits, States], Flags]
"""Whether each image counts as turned."""
Wrong = Literal["any", "all"]
"""Which of an image's known labels must be wrong: one at least, or each."""


def wrong(logits: LabelLogits, states: States) -> Bool[Tensor, "B L"]:
    """Labels whose state is known and not the one predicted: on where the logit is above 0."""
    return ~states.isnan() & ((logits > 0) != (states == 1))


def any_wrong(logits: LabelLogits, states: States) -> Flags:
    """Whether one known label of an image is wrong."""
    return wrong(logits, states).any(1)


def all_wrong(logits: LabelLogits, states: States) -> Flags:
    """Whether every known label of an image is wrong."""
    return (wrong(logits, states) | states.isnan()).all(1)


def some_wrong(goal: Wrong) -> Goal:
    """The test that any, or all, known labels are wrong."""
    return {"any": any_wrong, "all": all_wrong}[goal]


def as_asked(logits: LabelLogits, states: States) -> Flags:
    """Whether every label of an image whose state is asked for has it."""
    return ~any_wrong(logits, states)


def check_wrong(goal: str) -> None:
    """Refuses an unknown goal.

    Raises:
        ValueError: The message names the known ones.
    """
    if goal not in get_args(Wrong):
        raise ValueError(f"goal must be one of {list(get_args(Wrong))}, got {goal!r}: which known labels must be wrong")


# What objectives over the states of many labels share.


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

    def select(self, rows: Rows) -> MultiLabelLoss:
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


def binary_cross_entropy(
    logits: LabelLogits, states: States, weights: PerLabel | None = None, positive: PerLabel | None = None
) -> PerImage:
    r"""Mean binary cross-entropy over the known labels of each image.

    .. math:: -\frac{1}{|K|} \sum_{j \in K} w_j
        \big( p_j z_j \ln \sigma(s_j) + (1 - z_j) \ln (1 - \sigma(s_j)) \big)

    with s the logits, z the states and K the labels whose state is known.

    Args:
        logits: One for each label.
        states: 1 on, 0 off, NaN unknown.
        weights: Weight :math:`w_j \ge 0` of each label; 1 if not given.
        positive: Further weight :math:`p_j > 0` of each label where it is on; 1 if not given.

    Returns:
        One number per image; 0 where no state is known.

    Example:
        >>> logits, states = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, torch.nan]])
        >>> binary_cross_entropy(logits, states).exp()
        tensor([2.])
    """
    known = ~states.isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits,
        states.nan_to_num().to(logits.dtype),
        weight=None if weights is None else weights.to(logits),
        pos_weight=None if positive is None else positive.to(logits),
        reduction="none",
    )
    return losses.where(known, 0).sum(1) / known.sum(1).clamp_min(1)


@dataclass(frozen=True)
class BinaryCrossEntropy(MultiLabelObjective):
    r"""Binary cross-entropy of the true states of an image's labels (raised), or of asked-for ones (lowered).

    .. math:: \ell(s, z) = -\frac{1}{|K|} \sum_{j \in K} w_j
        \big( z_j \ln \sigma(s_j) + (1 - z_j) \ln (1 - \sigma(s_j)) \big)

    with s the logits, z the states and K the labels whose state is known. Untargeted, the value is :math:`\ell`, which
    is maximised; the goal is reached when ``"any"`` or ``"all"`` of the known labels are wrong. Targeted, the value is
    :math:`-\ell`, so that :math:`\ell` is minimised; the goal is reached when every label has the state asked for.
    A label whose state is NaN is left alone: it counts neither for the value nor for the goal.

    Args:
        targeted: Whether the states given are targets, such as those of
            :func:`~perturbsets.label_states.target_labels`.
        weights: Weight :math:`w_j \ge 0` of each label in the value, not all 0; 1 if not given. The goal knows none.
        goal: Of the untargeted form, which known labels must be wrong.

    Raises:
        ValueError: If weights or goal are none of these.

    Example:
        >>> from torch import nn
        >>> loss = BinaryCrossEntropy().at(nn.Identity(), torch.rand(1, 2), torch.tensor([[1, 0]]))
        >>> logits = torch.tensor([[2.0, 1.0]])  # both are on, the second wrongly
        >>> loss(logits, logits)[1]
        tensor([True])
    """

    targeted: bool = False
    weights: tuple[float, ...] | None = None
    goal: Wrong = "any"

    def __post_init__(self) -> None:
        check_wrong(self.goal)
        if self.weights is not None and not (
            all(0 <= weight < math.inf for weight in self.weights) and any(self.weights)  # NaN fails too
        ):
            raise ValueError(f"weights must be 0 or more and finite, one for each label, not all 0, got {self.weights}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        """Binds to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown or free.

        Raises:
            ValueError: If states do not fit the samples or the weights.
        """
        weights = None if self.weights is None else torch.tensor(self.weights, device=images.device)
        sign = -1 if self.targeted else 1

        def value(logits: LabelLogits, states: States) -> PerImage:
            return sign * binary_cross_entropy(logits, states, weights)

        loss = bind(model, images, labels, value, as_asked if self.targeted else some_wrong(self.goal))
        if weights is not None and len(weights) != loss.states.shape[1]:
            raise ValueError(f"weights must be one for each of the {loss.states.shape[1]} labels, got {len(weights)}")
        return loss


# By how much labels fall short of a pattern: Carlini and Wagner's margin, label by label.


Scores = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class LabelMargin(MultiLabelObjective):
    r"""How far the known labels of an image are from a pattern (lowered): that asked for, or the opposite of the true.

    .. math:: h_j(s, y^*) = \big[ \gamma - y^*_j s_j \big]_+, \qquad
        h_j(s, y^*) = \big[ \gamma - y^*_j \big( \sigma(s_j) - \tfrac12 \big) \big]_+

    in ``"logits"`` and in ``"probabilities"``, with s the logits, and :math:`y^*_j = 1` for on and :math:`-1` for off.
    Targeted, :math:`y^*` is the pattern given, :math:`\sum_j h_j` is minimised and the value is minus that; the goal is
    reached when every label has the state asked for. Untargeted, :math:`y^*` is the opposite of the true states: for
    ``"all"`` known labels to be wrong :math:`\sum_j h_j` is minimised, for ``"any"`` of them :math:`\min_j h_j`, that
    of the label nearest to its boundary, since in a sum all the others pull as hard. The value is minus that again: it
    rises while the labels that count in it are right. A label whose state is NaN is left alone.

    Unlike cross-entropy, a label that has its state, with confidence :math:`\gamma`, does not pull any more. With a
    price on the squared length of the change, ``Penalized(LabelMargin(...), weight)``, it is the attack of Carlini and
    Wagner on patterns of labels; ``bisect(..., over="weight")`` searches the price. The highest point of that lies
    *on* the boundary of a label where :math:`\gamma = 0`, and a label there is off: take a little confidence.

    Args:
        targeted: Whether the states given are targets, such as those of
            :func:`~perturbsets.label_states.target_labels`.
        confidence: How far :math:`\gamma \ge 0` behind its boundary a label stops pulling, in units of the scores;
            below ½ for probabilities.
        scores: Whether logits or probabilities are compared.
        goal: Of the untargeted form, which known labels must be wrong.

    Raises:
        ValueError: If an argument is outside its range.

    References:
        Carlini and Wagner, *Towards evaluating the robustness of neural networks*, 2017, sec. V.
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (patterns of labels).

    Example:
        >>> from torch import nn
        >>> import torch
        >>> objective = LabelMargin(targeted=True, confidence=0.5)
        >>> loss = objective.at(nn.Identity(), torch.rand(1, 2), torch.tensor([[0, 1]]))
        >>> logits = torch.tensor([[2.0, 1.0]])  # the first is to be off: short by 2.5
        >>> loss(logits, logits)
        (tensor([-2.5000]), tensor([False]))
    """

    targeted: bool = False
    confidence: float = 0.0
    scores: Scores = "logits"
    goal: Wrong = "any"

    def __post_init__(self) -> None:
        check_wrong(self.goal)
        if self.scores not in get_args(Scores):
            raise ValueError(f"scores must be one of {list(get_args(Scores))}, got {self.scores!r}")
        most = math.inf if self.scores == "logits" else 0.5
        if not 0 <= self.confidence < most:  # NaN fails too
            raise ValueError(f"confidence must be in [0, {most:g}) for {self.scores}, got {self.confidence}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        """Binds to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown or free.

        Raises:
            ValueError: If states do not fit the samples.
        """

        def value(logits: LabelLogits, states: States) -> PerImage:
            heights = logits if self.scores == "logits" else logits.sigmoid() - 0.5
            pattern = states if self.targeted else 1 - states
            short = (self.confidence - heights.where(pattern == 1, -heights)).relu()
            if self.targeted or self.goal == "all":
                return -short.where(~pattern.isnan(), 0).sum(1)
            return -short.where(~pattern.isnan(), math.inf).amin(1)

        return bind(model, images, labels, value, as_asked if self.targeted else some_wrong(self.goal))
