"""The objective of an attacker who knows the detector: misclassified, with labels that agree with the wrong class."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import Flags, Logits, Model, Offsets, PerImage, Rows, Samples
from perturbsets.knowledge.bound_rules import BoundRules, violation_of
from perturbsets.model_call import preserve_state
from perturbsets.objectives.base import Loss, Objective


@dataclass(frozen=True)
class RulePenalized(Objective):
    r"""Another objective less a penalty where classes are inconsistent with an auxiliary classifier's labels.

    .. math:: \ell(x', y) + w \ln \sum_c p_c(f(x'))\, e_c(g(x'))

    with f the classifier, g the auxiliary classifier of labels, and :math:`e_c` the evidence of the rules
    (:class:`~perturbsets.knowledge.BoundRules`). The value is maximised. The attack succeeds where the other objective
    does and, with a limit, the violation :math:`1 - \sum_c p_c e_c` is at most that: misclassified, and not rejected.

    Near a correctly classified clean image, :math:`\sum_c p_c e_c \approx p_y e_y`. So with cross-entropy a weight of 1
    cancels the whole gradient away from y, and only :math:`\ln e_y` is left to raise: stay well below 1 there. A margin
    allows larger weights. No weight suits all images: run several, with :class:`~perturbsets.Worst` and a judge that
    has the limit too.

    The auxiliary classifier is left as it was. Its passes are not among those counted: one for each of the classifier
    but those of binding.

    Args:
        objective: What to raise: one over the logits of the classifier.
        rules: Rules bound to the auxiliary classifier's labels and the classifier's classes.
        auxiliary: Samples to label logits ``[B, L]``, in evaluation mode; may share layers with the classifier.
        weight: Price :math:`0 \le w < \infty` of a unit of inconsistency, in nats.
        limit: Largest violation of a success, in [0, 1], such as the detector's threshold; none if not given.

    Raises:
        ValueError: If weight or limit are outside their range; at binding, as the other objective, or if there is no
            model; at a call, if that objective does not call the classifier, or the rules were bound to other classes
            or labels.

    References:
        Melacci et al., *Domain knowledge alleviates adversarial attacks in multi-label classifiers*, 2021
        (rules as constraints by t-norms, rejection, and attacks that know of it).

    Example:
        >>> from perturbsets import Adversary, CrossEntropy, PixelBall
        >>> from perturbsets.knowledge import Rules
        >>> rules = Rules(("a", "b"), {"x": "a", "y": "b and not a"}).bind(["a", "b"], ["x", "y"])
        >>> classifier, auxiliary = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2))
        >>> adaptive = Adversary(PixelBall("linf", 0.1), RulePenalized(CrossEntropy(), rules, auxiliary, limit=0.5))
        >>> adaptive(classifier, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])).success.shape
        torch.Size([3])
    """

    objective: Objective
    rules: BoundRules
    auxiliary: Model
    _: KW_ONLY
    weight: float = 0.3
    limit: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or more and finite, got {self.weight}")
        if self.limit is not None and not 0 <= self.limit <= 1:
            raise ValueError(f"limit must be a violation within 0 and 1, or None for no limit, got {self.limit}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> RulePenalizedLoss:
        if model is None:
            raise ValueError("model must be a classifier for this objective, got None")
        recorder = LogitRecorder(model)
        return RulePenalizedLoss(self.objective.at(recorder, images, labels), recorder, self)


class LogitRecorder(nn.Module):
    """A classifier that keeps its last logits ``[B, K]``, so that two losses need one forward pass."""

    logits: Tensor | None = None

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Samples) -> Logits:
        self.logits = model_call.class_logits(self.model, images)
        return self.logits


class RulePenalizedLoss(Loss):
    """A loss bound to a recorder of the classifier's logits, less the penalty of an objective."""

    def __init__(self, loss: Loss, recorder: LogitRecorder, objective: RulePenalized) -> None:
        self.loss, self.recorder, self.objective, self.calls = loss, recorder, objective, loss.calls

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        self.recorder.logits = None
        value, success = self.loss(images, offsets)
        class_logits, self.recorder.logits = self.recorder.logits, None
        if class_logits is None:
            raise ValueError(
                "objective must ask the classifier for its logits at each call, but it did not: take one over classes, "
                "such as CrossEntropy or Margin"
            )
        gradients = torch.is_grad_enabled()
        with preserve_state(self.objective.auxiliary, images.device) as model, torch.set_grad_enabled(gradients):
            label_logits = model_call.logits(model, images)
        inconsistency = self.objective.rules.inconsistency(class_logits, label_logits)
        if self.objective.limit is not None:
            success = success & (violation_of(inconsistency.detach()) <= self.objective.limit)
        return value - self.objective.weight * inconsistency, success

    def select(self, rows: Rows) -> RulePenalizedLoss:
        return RulePenalizedLoss(self.loss.select(rows), self.recorder, self.objective)
