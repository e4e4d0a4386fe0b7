r"""Importance sampling: what an estimate is worth, told from its weights alone.

With draws :math:`u_i` of a proposal and weights :math:`w_i = f(u_i) / r(u_i)`, the mean weight estimates the integral
of f without bias, however bad the proposal is; but where few draws carry all weight, it is far too low nearly always
and far too high now and then. Two figures tell: the effective number of draws, and the shape k of the tail of the
weights. All functions take logarithms of weights as a table ``[draws, pairs]`` in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from perturbsets._types import LogWeights, PerImage

LARGEST_K = 0.7
"""Largest shape of the tail at which an estimate is to be trusted."""
FEWEST_TAIL = 5  # weights that a tail is fitted to


def log_weights(target: LogWeights, proposals: Sequence[LogWeights], counts: Sequence[int]) -> LogWeights:
    r"""Logarithms of the weights of draws from several proposals at once, by the balance heuristic.

    .. math:: w_i = f(u_i) \Big/ \sum_j \tfrac{n_j}{n}\, r_j(u_i)

    Every draw is weighed against all proposals, whichever it came from. A proposal that is good in one place only does
    no harm elsewhere: a weight never exceeds :math:`n / n_j` times the one that proposal j alone would have given.

    Args:
        target: :math:`\ln f` at all draws.
        proposals: :math:`\ln r_j` at all draws, one table per proposal.
        counts: How many of the draws came from each, :math:`n_j \ge 1`.

    Returns:
        The logarithms :math:`\ln w_i`, ``-inf`` where the target is zero.

    References:
        Veach and Guibas, *Optimally combining sampling techniques for Monte Carlo rendering*, 1995.
    """
    total = sum(counts)
    mixed = [table + math.log(count / total) for table, count in zip(proposals, counts, strict=True)]
    ratio = target - torch.stack(mixed).logsumexp(0)
    return ratio.masked_fill(target.isneginf(), -math.inf)


def log_mean(table: LogWeights) -> PerImage:
    """Logarithm of the mean weight of each pair."""
    return table.logsumexp(0) - math.log(len(table))


def effective_draws(table: LogWeights) -> PerImage:
    r"""How many draws of the target itself the weighted draws of each pair are worth.

    .. math:: \Big(\sum_i w_i\Big)^2 \Big/ \sum_i w_i^2

    From 1, where one draw carries all, to the number of draws. It is told by the draws that were made: an
    important place that none of them met does not show.

    References:
        Kong, *A note on importance sampling using standardized weights*, 1992.
    """
    return 1 / table.softmax(0).square().sum(0)


def pareto_k(table: LogWeights) -> PerImage:
    r"""Shape of the tail of the weights of each pair: whether the mean weight has settled.

    The largest :math:`M = \min(n/5,\ 3\sqrt n)` weights, counted from the next one below, are fitted with a generalised
    Pareto distribution of shape k and scale :math:`\sigma`,

    .. math:: P(W > w) = (1 + k w / \sigma)^{-1/k}.

    Moments of order :math:`1/k` and above do not exist. Below ½ the variance is finite and the mean settles as usual;
    up to 0.7 it can still be trusted; above, the number of draws that would be needed grows out of reach; above 1 there
    is no mean to settle on, as far as the draws tell.

    Args:
        table: Logarithms of weights, ``-inf`` for zero.

    Returns:
        The estimate of k, drawn towards ½ by ten imagined weights; ``inf`` where there are fewer than 25 draws or the
        tail is too steep for doubles, -1 (bounded weights) where the largest are all the same.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto smoothed importance sampling*, 2024, sec. 3;
        Zhang and Stephens, *A new and efficient estimation method for the generalized Pareto distribution*, 2009.

    Example:
        >>> normal = torch.randn(1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> bool(pareto_k(0.1 * normal) < 0.7), bool(pareto_k(10 * normal) > 0.7)
        (True, True)
    """
    count = len(table)
    tail = min(count // 5, math.ceil(3 * math.sqrt(count)))
    if tail < FEWEST_TAIL:
        return torch.full_like(table[0], math.inf)
    largest = table.topk(tail + 1, dim=0).values.flip(0)
    weights = (largest - largest[-1]).exp()  # the largest is 1
    excess = weights[1:] - weights[0]
    k = generalised_pareto_shape(excess.clamp_min(torch.finfo(excess.dtype).tiny))
    steep = excess[_quartile(tail)] <= torch.finfo(excess.dtype).tiny
    k = k.masked_fill(steep | k.isnan(), math.inf).masked_fill(excess[-1] <= 0, -1.0)
    return k.masked_fill(largest[-1].isneginf(), math.inf)


def generalised_pareto_shape(excess: LogWeights) -> PerImage:
    r"""Shape k of generalised Pareto distributions, from draws of each.

    The profile likelihood is averaged over a grid of :math:`b = -k/\sigma` (with the sign of k as in the density
    :math:`(1 + k w/\sigma)^{-1/k - 1}/\sigma`), which needs no iteration and has no failures.

    Args:
        excess: Draws above 0 in ascending order, one column per distribution.

    Returns:
        The shapes, with ten imagined draws' weight on ½, which steadies small samples.

    References:
        Zhang and Stephens, *A new and efficient estimation method for the generalized Pareto distribution*, 2009;
        Vehtari et al., *Pareto smoothed importance sampling*, 2024, appendix C (the weight on ½).
    """
    count = len(excess)
    points = 30 + int(math.sqrt(count))
    number = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device)[:, None]
    grid = 1 / excess[-1] + (1 - (points / (number - 0.5)).sqrt()) / (3 * excess[_quartile(count)])
    shapes = torch.stack([torch.log1p(-b * excess).mean(0) for b in grid])
    profile = count * (torch.log(-grid / shapes) - shapes - 1)
    b = (grid * profile.softmax(0)).sum(0)
    shape = torch.log1p(-b * excess).mean(0)
    return (count * shape + 10 * 0.5) / (count + 10)


def _quartile(count: int) -> int:
    """Place of the first quartile among sorted values."""
    return int(count / 4 + 0.5) - 1
