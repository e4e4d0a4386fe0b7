"""Weights that make up for labels being on more seldom than off."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perturbsets._types import PerLabel
from perturbsets.label_states import label_states


def balancing_weights(states: Tensor, largest: float = 10.0) -> PerLabel:
    r"""How much a label's on-states must weigh to count together as much as its off-states.

    .. math:: p_j = \frac{\#\{i : z_{ij} = 0\}}{\#\{i : z_{ij} = 1\}}, \text{ cut to } [1/m, m]

    Args:
        states: States ``[N, L]`` of all training images; unknown ones do not count.
        largest: Largest weight :math:`m \ge 1`; what is on in a handful of images must not rule the training.

    Returns:
        A weight for each label, for ``MultiLabel(positive=...)``; 1 for a label of which no state is known.

    Raises:
        ValueError: If the states are none, or the largest weight is not finite or below 1.

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
