r"""Poisson draws as a function of their rate and one normal draw: the inverse of the distribution function.

References:
    Giles, *Algorithm 955: approximation of the inverse Poisson cumulative distribution function*, ACM Transactions on
    Mathematical Software 42, 2016, for the expansion at large rates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from augment.double_precision import in_double

LARGE = 10.0
"""Rates from which on the expansion is used; it then misses the count, by one, in fewer than 1 of 5,000 draws."""


def poisson_quantile(rate: Tensor, normal: Tensor) -> Tensor:
    r"""The count :math:`\min \{ n : P(N \le n) \ge \Phi(z) \}` for :math:`N` of a Poisson distribution.

    For small rates the probabilities are summed. For large ones the count is the whole part of

    .. math:: \lambda + \sqrt\lambda\, z + \frac{2 + z^2}{6} - \frac{2 z + z^3}{72 \sqrt\lambda}
              + \frac{3 z^4 + 7 z^2 - 16}{810\, \lambda} + \frac{2684 z - 548 z^3 - 207 z^5}{155520\, \lambda^{3/2}}

    Args:
        rate: Rates :math:`\lambda \ge 0`.
        normal: Standard normal draws :math:`z` of the same shape, at most 5.8 in size.

    Returns:
        Whole numbers in the type of `rate`.
    """
    root, square = rate.clamp_min(LARGE).sqrt(), normal * normal
    third = normal * (2684 - square * (548 + 207 * square)) / 155520
    second = (third / root + (square * (3 * square + 7) - 16) / 810) / root
    first = (second - normal * (2 + square) / 72) / root
    count = (rate + root * normal + (2 + square) / 6 + first).floor()
    small = (rate < LARGE).nonzero(as_tuple=True)
    count[small] = _summed(rate[small], normal[small]).to(count)
    return count


def _summed(rate: Tensor, normal: Tensor) -> Tensor:
    """Counts the probabilities that fit into the share; in float64, which the upper tail needs."""
    rest, rate = torch.special.ndtr(in_double(normal)), in_double(rate)
    each, count = (-rate).exp(), torch.zeros_like(rate)
    most = float(rate.max()) if rate.numel() else 0.0
    for number in range(1, int(most + 6.5 * math.sqrt(most)) + 9):  # no normal draw of 5.8 gives a higher count
        rest.sub_(each)
        count.add_(rest > 0)
        each.mul_(rate).mul_(1 / number)
    return count
