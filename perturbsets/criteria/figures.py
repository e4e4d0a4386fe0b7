"""Figures with intervals over sources, as plain values: None where the data cannot say."""

from __future__ import annotations

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
    if over is not None and not float(over.double().sum()) > 0:
        return {"mean": None, "low": None, "high": None}
    return mean_interval(values, source, over=over)._asdict()


def spread(values: Tensor) -> Figure:
    """Median, 95 % quantile and largest of some values."""
    values = values.double()
    return {
        "median": float(values.median()),
        "q95": float(values.quantile(0.95)),
        "max": float(values.max()),
    }


def named(figures: Figure, name: str) -> Figure:
    """A figure under another name: ``{NAME, NAME_low, NAME_high}``, so that several fit into one entry."""
    return {name: figures["mean"], f"{name}_low": figures["low"], f"{name}_high": figures["high"]}
