"""Objectives over the states of many labels: what they share, binary cross-entropy, and the margin."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from perturbsets import model_call
from perturbsets._types import Flags, LabelLogits, Model, Offsets, PerImage, PerLabel, Rows, Samples, States
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import check_choice

Wrong = Literal["any", "all"]
"""Which of an image's known labels must be wrong for a success: at least one, or each."""
Scores = Literal["logits", "probabilities"]


class MultiLabelObjective(Objective):
    """An objective over the states of labels, maximised by an adversary of a multi-label classifier.

    Bound by ``at(model, images, states)`` to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown
    (of true states) or free (of targets). A label is on where its logit is above 0.
    """

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        if model is None:
            raise ValueError("model must be a multi-label classifier for this objective, got None")
        states = label_states(labels, len(images)).to(images.device)
        self.check(states)
        return MultiLabelLoss(model, states, self)

    @abstractmethod
    def value(self, logits: LabelLogits, states: States) -> PerImage:
        """What is maximised."""

    @abstractmethod
    def success(self, logits: LabelLogits, states: States) -> Flags:
        """Whether the attack on each image succeeds."""

    def attainable(self, states: States) -> Flags:
        """The images whose states, true ones or targets, leave something to attain; binding refuses others."""
        return (~states.isnan()).any(1)

    def check(self, states: States) -> None:
        """Raises a ValueError if states do not fit the settings."""


class MultiLabelLoss(Loss):
    """A multi-label objective bound to a model and to true states or targets."""

    def __init__(self, model: Model, states: States, objective: MultiLabelObjective) -> None:
        self.model, self.states, self.objective = model, states, objective
        self._checked = False

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = model_call.logits(self.model, images)
        if not self._checked:
            check_label_logits(logits, self.states)
            self._checked = True
        return self.objective.value(logits, self.states), self.objective.success(logits.detach(), self.states)

    def select(self, rows: Rows) -> MultiLabelLoss:
        selected = MultiLabelLoss(self.model, self.states[rows], self.objective)
        selected._checked = self._checked
        return selected


@dataclass(frozen=True)
class _PatternObjective(MultiLabelObjective):
    """Success where all states are those of a target, or where known labels are wrong."""

    _: KW_ONLY
    targeted: bool = False
    goal: Wrong = "any"

    def __post_init__(self) -> None:
        check_choice("goal", self.goal, Wrong)

    def success(self, logits: LabelLogits, states: States) -> Flags:
        wrong: Bool[Tensor, "B L"] = (logits > 0) != (states == 1)
        if self.targeted or self.goal == "any":
            return (wrong & ~states.isnan()).any(1) != self.targeted
        return (wrong | states.isnan()).all(1)


def binary_cross_entropy(
    logits: LabelLogits, states: States, weights: PerLabel | None = None, positive: PerLabel | None = None
) -> PerImage:
    r"""Mean binary cross-entropy over the known labels of each image.

    .. math:: -\frac{1}{|K|} \sum_{j \in K} w_j
        \big( p_j z_j \ln \sigma(s_j) + (1 - z_j) \ln (1 - \sigma(s_j)) \big)

    with s the logits, z the states, K the labels whose state is known, and weights :math:`w_j \ge 0` of labels and
    :math:`p_j > 0` of their on-states, 1 if not given. It is 0 where no state is known.

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
class BinaryCrossEntropy(_PatternObjective):
    r"""Binary cross-entropy of the true states of an image's labels (raised), or of target states (lowered).

    .. math:: \ell(s, z) = -\frac{1}{|K|} \sum_{j \in K} w_j
        \big( z_j \ln \sigma(s_j) + (1 - z_j) \ln (1 - \sigma(s_j)) \big)

    with s the logits, z the states and K the labels whose state is known. Untargeted, the value is :math:`\ell`, and
    the attack succeeds when ``"any"`` or ``"all"`` of the known labels are wrong. Targeted, the value is
    :math:`-\ell`, and the attack succeeds when every label has its target state. Labels whose state is NaN count
    neither for the value nor for the success.

    Args:
        targeted: Whether the states are targets, such as those of :func:`~perturbsets.label_states.target_labels`.
        goal: Of the untargeted form, which known labels must be wrong.
        weights: Weight :math:`w_j \ge 0` of each label in the value, not all 0; 1 if not given.

    Raises:
        ValueError: If weights are negative, not finite or all 0, or the goal is unknown; at binding, if states do not
            fit the samples or the weights.

    Example:
        >>> from torch import nn
        >>> loss = BinaryCrossEntropy().at(nn.Identity(), torch.rand(1, 2), torch.tensor([[1, 0]]))
        >>> logits = torch.tensor([[2.0, 1.0]])  # both are predicted on, the second wrongly
        >>> loss(logits, logits)[1]
        tensor([True])
    """

    _: KW_ONLY
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and not (
            all(0 <= weight < math.inf for weight in self.weights) and any(self.weights)  # NaN fails too
        ):
            raise ValueError(f"weights must be 0 or more and finite, one for each label, not all 0, got {self.weights}")

    def check(self, states: States) -> None:
        if self.weights is not None and len(self.weights) != states.shape[1]:
            raise ValueError(f"weights must be one for each of the {states.shape[1]} labels, got {len(self.weights)}")

    def value(self, logits: LabelLogits, states: States) -> PerImage:
        weights = None if self.weights is None else torch.tensor(self.weights, device=logits.device)
        value = binary_cross_entropy(logits, states, weights)
        return -value if self.targeted else value


@dataclass(frozen=True)
class LabelMargin(_PatternObjective):
    r"""Carlini and Wagner's margin, label by label: how far known labels are from the wanted pattern (lowered).

    .. math:: h_j(s, y^*) = \big[ \gamma - y^*_j s_j \big]_+, \qquad
        h_j(s, y^*) = \big[ \gamma - y^*_j \big( \sigma(s_j) - \tfrac12 \big) \big]_+

    in ``"logits"`` and in ``"probabilities"``, with s the logits, and :math:`y^*_j = 1` for on and :math:`-1` for off.
    Targeted, :math:`y^*` is the target, the value is :math:`-\sum_j h_j`, and the attack succeeds when every label has
    its target state. Untargeted, :math:`y^*` is the opposite of the true states; for ``"all"`` known labels to be wrong
    the value is :math:`-\sum_j h_j`, for ``"any"`` of them :math:`-\min_j h_j`, that of the label nearest to its
    boundary, since in a sum all the others pull as hard. Labels whose state is NaN do not count.

    Unlike cross-entropy, a label that has its wanted state with confidence :math:`\gamma` pulls no more.
    ``Penalized(LabelMargin(...), weight)`` is the attack of Carlini and Wagner on patterns of labels;
    ``bisect(..., over="weight")`` searches the weight. Where :math:`\gamma = 0`, its highest point lies *on* the
    boundary of a label, and a label there is off: take a small confidence.

    Args:
        targeted: Whether the states are targets, such as those of :func:`~perturbsets.label_states.target_labels`.
        goal: Of the untargeted form, which known labels must be wrong.
        confidence: How far :math:`\gamma \ge 0` behind its boundary a label stops pulling, in units of the scores;
            below ½ for probabilities.
        scores: Whether logits or probabilities are compared.

    Raises:
        ValueError: If a setting is outside its range; at binding, if states do not fit the samples.

    References:
        Carlini and Wagner, *Towards evaluating the robustness of neural networks*, 2017, sec. V.
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (patterns of labels).

    Example:
        >>> from torch import nn
        >>> objective = LabelMargin(targeted=True, confidence=0.5)
        >>> loss = objective.at(nn.Identity(), torch.rand(1, 2), torch.tensor([[0, 1]]))
        >>> logits = torch.tensor([[2.0, 1.0]])  # the first is to be off: 2.5 are missing
        >>> loss(logits, logits)
        (tensor([-2.5000]), tensor([False]))
    """

    _: KW_ONLY
    confidence: float = 0.0
    scores: Scores = "logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("scores", self.scores, Scores)
        most = math.inf if self.scores == "logits" else 0.5
        if not 0 <= self.confidence < most:  # NaN fails too
            raise ValueError(f"confidence must be in [0, {most:g}) for {self.scores}, got {self.confidence}")

    def value(self, logits: LabelLogits, states: States) -> PerImage:
        scores = logits if self.scores == "logits" else logits.sigmoid() - 0.5
        wanted = states if self.targeted else 1 - states
        missing = (self.confidence - scores.where(wanted == 1, -scores)).relu()
        if self.targeted or self.goal == "all":
            return -missing.where(~wanted.isnan(), 0).sum(1)
        return -missing.where(~wanted.isnan(), math.inf).amin(1)
