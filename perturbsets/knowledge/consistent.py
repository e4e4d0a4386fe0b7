"""The adaptive attacker: turn the class, and keep the labels in agreement with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import Flags, Logits, Model, Offsets, PerImage, Rows, Samples
from perturbsets.knowledge.bound_rules import BoundRules, violation_of
from perturbsets.model_call import preserve_state
from perturbsets.objectives.base import Loss, Objective


class Heard(nn.Module):
    """A classifier whose last words are kept, so that two losses need one forward pass.

    Args:
        model: Samples to logits ``[B, K]``.
    """

    logits: Tensor | None = None

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Samples) -> Logits:
        self.logits = model_call.class_logits(self.model, images)
        return self.logits


class ConsistentLoss(Loss):
    """A loss of a classifier, less the inconsistency of its classes with an auxiliary classifier's labels.

    Args:
        loss: What to raise; bound to the classifier that is heard.
        heard: The classifier.
        auxiliary: Samples to label logits ``[B, L]``; asked in evaluation mode.
        objective: Rules, weight and limit.
    """

    def __init__(self, loss: Loss, heard: Heard, auxiliary: Model, objective: Consistent) -> None:
        self.loss, self.heard, self.auxiliary, self.objective, self.calls = (
            loss,
            heard,
            auxiliary,
            objective,
            loss.calls,
        )

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        self.heard.logits = None
        value, success = self.loss(images, offsets)
        class_logits, self.heard.logits = self.heard.logits, None
        if class_logits is None:
            raise ValueError(
                "objective must ask the classifier for its logits at each call, but it did not: take one over classes, "
                "such as CrossEntropy or Margin"
            )
        gradients = torch.is_grad_enabled()
        with preserve_state(self.auxiliary, images.device) as auxiliary, torch.set_grad_enabled(gradients):
            label_logits = model_call.logits(auxiliary, images)
        inconsistency = self.objective.rules.inconsistency(class_logits, label_logits)
        if self.objective.limit is not None:
            success = success & (violation_of(inconsistency.detach()) <= self.objective.limit)
        return value - self.objective.weight * inconsistency, success

    def select(self, rows: Rows) -> ConsistentLoss:
        return ConsistentLoss(self.loss.select(rows), self.heard, self.auxiliary, self.objective)


@dataclass(frozen=True)
class Consistent(Objective):
    r"""Another objective, penalized where classes are inconsistent with an auxiliary classifier's labels.

    .. math:: \ell(x', y) + w \ln \sum_c p_c(f(x'))\, e_c(g(x'))

    with f the classifier, g the auxiliary classifier that tells labels, and :math:`e_c` the evidence of the rules
    (:class:`~perturbsets.knowledge.BoundRules`). The value is maximised: this is the attacker who knows of the
    detector. The goal is the other objective's, and besides, where there is a limit, a violation
    :math:`1 - \sum_c p_c e_c` of at most that: turned, and not rejected.

    Near a clean image that is right, :math:`\sum_c p_c e_c \approx p_y e_y`. So with cross-entropy a weight of 1 takes
    back the whole pull away from y, and all that is left to raise is :math:`\ln e_y`: stay well below 1 there. A margin
    bears more. No weight is right for all images: hold several against a detector at once, with
    :class:`~perturbsets.Worst` and a judge that has the limit too.

    The auxiliary classifier is left as it was found. Its passes come on top of those counted: one for each of the
    classifier but those of binding.

    Args:
        objective: What to raise: one over the logits of the classifier.
        rules: Rules bound to the auxiliary classifier's labels and the classifier's classes.
        auxiliary: Samples to label logits ``[B, L]``; may share layers with the classifier.
        weight: Price :math:`0 \le w < \infty` of a unit of inconsistency, in nats.
        limit: Largest violation, in [0, 1], with which the goal counts as reached; mostly the detector's threshold.

    Raises:
        ValueError: If weight or limit are outside their range.

    References:
        Melacci et al., *Domain knowledge alleviates adversarial attacks in multi-label classifiers*, 2021
        (rules as constraints by t-norms, rejection, and attacks that know of it).

    Example:
        >>> from perturbsets import Adversary, CrossEntropy, PixelBall
        >>> from perturbsets.knowledge import Rules
        >>> rules = Rules(("a", "b"), {"x": "a", "y": "b and not a"}).bind(["a", "b"], ["x", "y"])
        >>> classifier, auxiliary = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2))
        >>> adaptive = Adversary(PixelBall("linf", 0.1), Consistent(CrossEntropy(), rules, auxiliary, limit=0.5))
        >>> adaptive(classifier, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])).success.shape
        torch.Size([3])
    """

    objective: Objective
    rules: BoundRules
    auxiliary: Model
    weight: float = 0.3
    limit: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or more and finite, got {self.weight}")
        if self.limit is not None and not 0 <= self.limit <= 1:
            raise ValueError(f"limit must be a violation within 0 and 1, or None for no limit, got {self.limit}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> ConsistentLoss:
        """Binds to a classifier, and to what the other objective binds to.

        Raises:
            ValueError: As the other objective, or if there is no model. At a call, if that objective does not ask the
                classifier, or the rules were bound to other classes or labels.
        """
        if model is None:
            raise ValueError("model must be a classifier for this objective, got None")
        heard = Heard(model)
        return ConsistentLoss(self.objective.at(heard, images, labels), heard, self.auxiliary, self)
