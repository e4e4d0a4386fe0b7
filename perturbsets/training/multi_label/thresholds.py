"""For each label the logit above which it counts as on, chosen on validation images."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from perturbsets._types import LabelLogits, PerLabel
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.classification import check_finite

Metric = Literal["f1", "balanced_accuracy"]


def choose_thresholds(logits: LabelLogits, states: Tensor, metric: Metric = "f1") -> PerLabel:
    r"""The threshold of each label that makes a metric highest.

    .. math:: t_j = \arg \max_t m\big(\{s_{ij} > t\}, z_{\cdot j}\big), \qquad
        F_1 = \frac{2\, TP}{2\, TP + FP + FN}, \quad
        \text{balanced accuracy} = \tfrac12 \Big(\frac{TP}{P} + \frac{TN}{N}\Big)

    Among equally good ones 0 counts first, then the nearest to 0; a threshold lies in the middle between two logits.
    :class:`perturbsets.Thresholded` takes them into the model.

    Args:
        logits: Of validation images, neither trained on nor reported.
        states: Their states ``[N, L]``; unknown ones do not count.
        metric: What to make highest.

    Returns:
        In logits, one for each label; 0 for labels that are never on, or never off, where their state is known.

    Raises:
        ValueError: If the metric is unknown, logits are not finite, or there is not one for each state.

    Example:
        >>> logits = torch.tensor([[-3.0], [-2.0], [-1.0], [0.5]])
        >>> choose_thresholds(logits, torch.tensor([[0.0], [1.0], [1.0], [1.0]]))
        tensor([-2.5000])
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {list(get_args(Metric))}, got {metric!r}")
    states = label_states(states, len(states), each_known=False)
    check_label_logits(logits, states)
    check_finite(logits)
    columns = zip(logits.detach().T, states.to(logits.device).T, strict=True)
    return torch.stack([_best(column[~state.isnan()], state[~state.isnan()], metric) for column, state in columns])


def _best(logits: Tensor, states: Tensor, metric: Metric) -> Tensor:
    """The best threshold of one label."""
    order = logits.argsort(descending=True)
    logits, on = logits[order], states[order].double()
    positive, negative = on.sum(), (1 - on).sum()
    if not bool(positive * negative):
        return logits.new_zeros(())
    # Everything above a threshold is on: so count, for each place in the order, what stands before it.
    true_on = torch.cat([on.new_zeros(1), on.cumsum(0)])
    false_on = torch.arange(len(true_on), device=on.device) - true_on
    if metric == "f1":
        values = 2 * true_on / (true_on + false_on + positive)
    else:
        values = (true_on / positive + 1 - false_on / negative) / 2
    thresholds = _between(logits)
    apart = torch.cat([thresholds.new_ones(1), logits[1:] < logits[:-1], thresholds.new_ones(1)]).bool()
    best = apart & (values == values[apart].max())
    if bool(best[(logits > 0).sum()]):
        return logits.new_zeros(())
    candidates = thresholds[best]
    return candidates[candidates.abs().argmin()]


def _between(logits: Tensor) -> Tensor:
    """Thresholds above all of some falling logits, between each two neighbours, and below all."""
    upper, lower = logits[:-1], logits[1:]
    middle = lower + (upper - lower) / 2
    middle = middle.where(middle < upper, lower)  # of numbers next to each other
    return torch.cat([logits[:1] + 1, middle, logits[-1:] - 1])
