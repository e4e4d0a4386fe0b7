"""Training a classifier of many labels: the method, weights for rare states, and thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import Flags, LabelLogits, Offsets, PerLabel, Samples, States
from perturbsets.adversaries.adversary import Adversary, AttackResult
from perturbsets.adversaries.worst import Worst
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.multi_label.objectives import MultiLabelObjective, binary_cross_entropy
from perturbsets.objectives.classification import check_finite
from perturbsets.objectives.general import Penalized
from perturbsets.rows import check_choice
from perturbsets.training.method import Classifier, OneUpdate, Update, batch_states

Metric = Literal["f1", "balanced_accuracy"]


@dataclass(frozen=True)
class MultiLabelTraining(OneUpdate):
    r"""Binary cross-entropy of each known label, on clean images or on those of an adversary.

    .. math:: \min_\omega \mathbb E\, \frac{1}{|K|} \sum_{j \in K} w_j\, \ell_{p_j}(g_\omega(x')_j, z_j),
        \qquad \ell_p(s, z) = -p\, z \ln \sigma(s) - (1 - z) \ln (1 - \sigma(s))

    with K the labels whose state is known, and x' the clean image, or the worst one in a set. Data are (image, states),
    or (image, class, states), of which the class is ignored. Accuracy in the records is the share of the known states
    that are predicted correctly.

    Args:
        positive: Weight :math:`p_j > 0` of each label's on-states, such as :func:`balancing_weights` gives; 1 if not
            given.
        weights: Weight :math:`w_j \ge 0` of each label, not all 0; 1 if not given.
        adversary: The inner maximisation, on any set, with a multi-label objective; clean images if not given, and
            where states leave it nothing to attain.

    Raises:
        ValueError: If a weight is outside its range.

    Example:
        >>> method = MultiLabelTraining(positive=(4.0, 1.0))
        >>> x, z = torch.rand(3, 1, 2, 2), torch.tensor([[1.0, 0.0], [0.0, torch.nan], [0.0, 1.0]])
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> ((losses, logits),) = method(model, model, x, z, torch.Generator())
        >>> losses.shape, logits.shape
        (torch.Size([3]), torch.Size([3, 2]))
    """

    _: KW_ONLY
    positive: tuple[float, ...] | PerLabel | None = None
    weights: tuple[float, ...] | PerLabel | None = None
    adversary: Adversary | Worst | None = None

    def __post_init__(self) -> None:
        positive, weights = (None if w is None else torch.as_tensor(w) for w in (self.positive, self.weights))
        if positive is not None and not bool(((positive > 0) & (positive < math.inf)).all()):  # NaN fails too
            raise ValueError(f"positive must be above 0 and finite, one for each label, got {self.positive}")
        if weights is not None and not bool(((weights >= 0) & (weights < math.inf)).all() & (weights > 0).any()):
            raise ValueError(f"weights must be 0 or more and finite, one for each label, not all 0, got {self.weights}")

    def targets(self, given: Sequence[Tensor]) -> States:
        return batch_states(given)

    def prepare(self, bare: nn.Module, images: Samples, labels: States, generator: torch.Generator) -> Samples:
        if self.adversary is None:
            return images
        return attack_attainable(self.adversary, bare, images, labels, generator=generator).images

    def losses(self, model: Classifier, images: Samples, shown: Samples, labels: States) -> Update:
        logits = model_call.logits(model, shown)
        check_label_logits(logits, labels)
        weights = _label_weights("weights", self.weights, labels)
        return binary_cross_entropy(logits, labels, weights, _label_weights("positive", self.positive, labels)), logits


def _label_weights(name: str, weights: tuple[float, ...] | Tensor | None, states: States) -> PerLabel | None:
    """Weights as a tensor beside the states, one for each of their labels."""
    if weights is None:
        return None
    tensor = torch.as_tensor(weights).to(states)
    if tensor.shape != states.shape[1:]:
        raise ValueError(f"{name} must be one for each of the {states.shape[1]} labels, got {list(tensor.shape)}")
    return tensor


class AdversarialBatch(NamedTuple):
    """Adversarial examples and their offsets in the set: 0 for an image left clean, ``None`` of several adversaries."""

    images: Samples
    offsets: Offsets | None


def attack_attainable(
    adversary: Adversary | Worst, model: nn.Module, images: Samples, states: States, *, generator: torch.Generator
) -> AdversarialBatch:
    """Attacks the images whose states leave every objective, a judge's too, something to attain; others stay clean.

    Labels that are all on, say, cannot be ranked: data may hold such images, and training goes on. The result is of the
    highest value, whether or not the attack succeeds.
    """
    states = states.to(images.device)
    able = _attainable(adversary, states)
    if bool(able.all()):
        result = adversary(model, images, states, generator=generator, rank="value")
        return AdversarialBatch(result.images, result.offsets if isinstance(result, AttackResult) else None)
    rows, attacked, offsets = able.nonzero()[:, 0], images.detach().clone(), None
    if isinstance(adversary, Adversary):
        with torch.no_grad():
            offsets = adversary.perturbations.at(attacked).centre()
    if len(rows):
        result = adversary.select(rows)(model, images[rows], states[rows], generator=generator, rank="value")
        attacked[rows] = result.images
        if offsets is not None and isinstance(result, AttackResult):
            offsets[rows] = result.offsets
    return AdversarialBatch(attacked, offsets)


def _attainable(adversary: Adversary | Worst, states: States) -> Flags:
    if isinstance(adversary, Worst):
        objectives = [adversary.judge, *(each.objective for each in adversary.adversaries)]
    else:
        objectives = [adversary.objective]
    able = torch.ones(len(states), dtype=torch.bool, device=states.device)
    for objective in objectives:
        while isinstance(objective, Penalized):
            objective = objective.objective
        if isinstance(objective, MultiLabelObjective):
            able = able & objective.attainable(states)
    return able


def balancing_weights(states: Tensor, *, largest: float = 10.0) -> PerLabel:
    r"""How much a label's on-states must weigh to count together as much as its off-states.

    .. math:: p_j = \frac{\#\{i : z_{ij} = 0\}}{\#\{i : z_{ij} = 1\}}, \text{ clipped to } [1/m, m]

    Args:
        states: States ``[N, L]`` of all training images; unknown ones do not count.
        largest: Largest weight :math:`m \ge 1`, so that a label that is on in a few images does not rule the training.

    Returns:
        A weight for each label, for ``MultiLabelTraining(positive=...)``; 1 for a label of which no state is known.

    Raises:
        ValueError: If states are not 0, 1 or NaN, or the largest weight is not finite or below 1.

    Example:
        >>> balancing_weights(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, torch.nan]])).tolist()
        [2.0, 10.0]
    """
    if not 1 <= largest < math.inf:
        raise ValueError(f"largest must be a finite weight of 1 or more, got {largest}")
    states = label_states(states, len(states), each_known=False)
    on, off = ((states == state).sum(0) for state in (1, 0))
    weights = (off / on).clamp(1 / largest, largest)
    return weights.where(on + off > 0, torch.ones_like(weights)).to(states.dtype)


def choose_thresholds(logits: LabelLogits, states: Tensor, *, metric: Metric = "f1") -> PerLabel:
    r"""The threshold of each label that makes a metric highest, above which the label counts as on.

    .. math:: t_j = \arg \max_t m\big(\{s_{ij} > t\}, z_{\cdot j}\big), \qquad
        F_1 = \frac{2\, TP}{2\, TP + FP + FN}, \quad
        \text{balanced accuracy} = \tfrac12 \Big(\frac{TP}{P} + \frac{TN}{N}\Big)

    Among equally good ones 0 is preferred, then the nearest to 0; a threshold lies in the middle between two logits.
    :class:`perturbsets.models.Thresholded` makes them a part of the model.

    Args:
        logits: Of validation images, neither trained on nor reported.
        states: Their states ``[N, L]``; unknown ones do not count.
        metric: What to maximise.

    Returns:
        In logits, one for each label; 0 for labels whose known states are all on or all off.

    Raises:
        ValueError: If the metric is unknown, logits are not finite, or there is not one for each state.

    Example:
        >>> logits = torch.tensor([[-3.0], [-2.0], [-1.0], [0.5]])
        >>> choose_thresholds(logits, torch.tensor([[0.0], [1.0], [1.0], [1.0]]))
        tensor([-2.5000])
    """
    check_choice("metric", metric, Metric)
    states = label_states(states, len(states), each_known=False)
    check_label_logits(logits, states)
    check_finite(logits)
    columns = zip(logits.detach().T, states.to(logits.device).T, strict=True)
    return torch.stack([_threshold(column[~state.isnan()], state[~state.isnan()], metric) for column, state in columns])


def _threshold(logits: Tensor, states: Tensor, metric: Metric) -> Tensor:
    """The best threshold of one label."""
    order = logits.argsort(descending=True)
    logits, on = logits[order], states[order].double()
    positive, negative = on.sum(), (1 - on).sum()
    if not bool(positive * negative):
        return logits.new_zeros(())
    # All above a threshold are predicted on: count, for each place in the order, the states before it.
    true_on = torch.cat([on.new_zeros(1), on.cumsum(0)])
    false_on = torch.arange(len(true_on), device=on.device) - true_on
    if metric == "f1":
        values = 2 * true_on / (true_on + false_on + positive)
    else:
        values = (true_on / positive + 1 - false_on / negative) / 2
    upper, lower = logits[:-1], logits[1:]
    middle = lower + (upper - lower) / 2
    middle = middle.where(middle < upper, lower)  # neighbouring floating-point numbers have none between them
    thresholds = torch.cat([logits[:1] + 1, middle, logits[-1:] - 1])
    apart = torch.cat([thresholds.new_ones(1), lower < upper, thresholds.new_ones(1)]).bool()
    best = apart & (values == values[apart].max())
    if bool(best[(logits > 0).sum()]):
        return logits.new_zeros(())
    candidates = thresholds[best]
    return candidates[candidates.abs().argmin()]
