"""Figures with intervals over sources, as plain values: None where the data cannot say."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from perturbsets.intervals import mean_interval

Figure = dict[str, float | None]


def figure(values: Tensor, source: Tensor, over: Tensor | None = None) -> Figure:
    r"""A mean, or a ratio of means, with its interval at 95 % over sources.

    .. math:: \frac{\sum_i v_i}{\sum_i w_i}

    Args:
        values: One number per pair :math:`v`.
        source: Source of each pair; pairs of one source are not independent.
        over: Denominators :math:`w`; ones if not given.

    Returns:
        ``mean``, ``low`` and ``high``. All are ``None`` where there is nothing to divide by, and the interval where
        :func:`perturbsets.mean_interval` gives none: below 5 sources, they do not tell what others would give.

    Example:
        >>> import torch
        >>> source = torch.tensor([0, 0, 1])
        >>> figure(torch.ones(3), source, over=torch.full((3,), 4.0))
        {'mean': 0.25, 'low': None, 'high': None}
        >>> figure(torch.ones(3), source, over=torch.zeros(3))
        {'mean': None, 'low': None, 'high': None}
    """
    if over is not None and not float(over.cpu().double().sum()) > 0:
        return {"mean": None, "low": None, "high": None}
    return mean_interval(values, source, over=over)._asdict()


def holding(values: Tensor, share: float) -> float:
    r"""The smallest of some values that a share of them does not exceed.

    .. math:: v_{(k)}, \qquad k = \lceil q\, n \rceil

    An order statistic, since between two values lies a smaller share than asked for.

    Args:
        values: At least one value.
        share: Share q in (0, 1].

    Example:
        >>> import torch
        >>> holding(torch.arange(1.0, 11), 0.95), holding(torch.arange(1.0, 11), 0.9)
        (10.0, 9.0)
    """
    return float(np.quantile(values.cpu().double().numpy(), share, method="inverted_cdf"))


def spread(values: Tensor) -> Figure:
    """Median of some values, the smallest that 95 % of them do not exceed, and the largest."""
    values = values.cpu().double()
    return {
        "median": float(values.median()),
        "q95": holding(values, 0.95),
        "max": float(values.max()),
    }


def named(figures: Figure, name: str) -> Figure:
    """A figure under another name: ``{NAME, NAME_low, NAME_high}``, so that several fit into one entry."""
    return {name: figures["mean"], f"{name}_low": figures["low"], f"{name}_high": figures["high"]}
