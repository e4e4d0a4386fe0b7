"""By how much labels fall short of a pattern: Carlini and Wagner's margin, label by label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from perturbsets._types import LabelLogits, Model, PerImage, Samples, States
from perturbsets.objectives.multi_label.base import MultiLabelLoss, MultiLabelObjective, bind
from perturbsets.objectives.multi_label.goals import Wrong, as_asked, check_wrong, some_wrong

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
    price on the squared length of the change, ``Priced(LabelMargin(...), weight)``, it is the attack of Carlini and
    Wagner on patterns of labels; ``bisect(..., over="weight")`` searches the price. The highest point of that lies
    *on* the boundary of a label where :math:`\gamma = 0`, and a label there is off: take a little confidence.

    Args:
        targeted: Whether the states given are targets, such as those of :func:`~perturbsets.label_states.altered`.
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
