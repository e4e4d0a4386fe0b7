"""Intervals: what would other images have given?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from perturbsets.share_bounds import share_at_least, share_at_most

LEVEL = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and its interval.

    Attributes:
        mean: The mean of the values.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def bootstrap(values: Tensor, groups: Tensor | None = None, *, over: Tensor | None = None, seed: int = 0) -> Interval:
    """Percentile interval of a mean, or of a ratio of means, at 95 %.

    Args:
        values: One number per item ``[N]``.
        groups: Group of each item ``[N]``; items of one group (pairs of one source image) are not independent,
            so whole groups are drawn. By default every item is its own group.
        over: Denominators ``[N]``: the figure is then mean(values) / mean(over).
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        The figure and its interval.

    Raises:
        ValueError: If there are no values.

    References:
        Efron and Tibshirani, *An introduction to the bootstrap*, 1993, ch. 13 (percentile interval), 8.6 (groups).
    """
    if not len(values):
        raise ValueError("values must hold at least one number, got none")
    values = values.detach().double().cpu()
    over = torch.ones_like(values) if over is None else over.detach().double().cpu()
    groups = torch.arange(len(values)) if groups is None else groups.detach().cpu()
    _, members = groups.unique(return_inverse=True)
    count = int(members.max()) + 1
    above = torch.zeros(count, dtype=torch.float64).index_add_(0, members, values)
    below = torch.zeros(count, dtype=torch.float64).index_add_(0, members, over)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    figures = above[drawn].sum(1) / below[drawn].sum(1)
    tail = (1 - LEVEL) / 2
    low, high = figures.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(float(above.sum() / below.sum()), low, high)


def binomial(successes: int, trials: int) -> Interval:
    r"""Exact interval of a share, at 95 %; unlike the bootstrap it has a width at 0 % and 100 %.

    .. math:: \big[B^{-1}(\tfrac\alpha2;\, k, n - k + 1),\ B^{-1}(1 - \tfrac\alpha2;\, k + 1, n - k)\big]

    with :math:`B^{-1}` the quantiles of the beta distribution.

    Args:
        successes: Number k of successes.
        trials: Number n of independent trials, at least 1.

    Returns:
        The share and its interval.

    Raises:
        ValueError: If the numbers do not fit together.

    References:
        Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934.
    """
    tail = (1 - LEVEL) / 2
    low, high = (bound(successes, trials, tail) for bound in (share_at_least, share_at_most))
    return Interval(successes / trials, float(low), float(high))
