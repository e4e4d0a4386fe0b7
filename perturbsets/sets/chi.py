r"""Norms of normal vectors, conditioned on a ball.

The norm of a standard normal vector in d dimensions has the distribution function
:math:`F(r) = P(d/2, r^2/2)`, with P the regularised lower incomplete gamma function. Conditioned on
:math:`r \le \epsilon`, a draw is :math:`F^{-1}(U F(\epsilon))`. In many dimensions and small balls F is far
below the smallest double (at d = 4096 and r = 0.1 its logarithm is about -24,000), so there the equation is
solved for logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

SMALLEST = 1e-280
Array = npt.NDArray[np.float64]


def log_chi_cdf(radius: Array, size: int) -> Array:
    r"""Logarithm of the probability that a standard normal vector has norm at most r.

    .. math:: \ln P(a, x) = a \ln x - x - \ln\Gamma(a+1) + \ln \sum_{k \ge 0} \frac{x^k}{(a+1)\cdots(a+k)}

    with :math:`a = d/2` and :math:`x = r^2/2`; the series is used where the probability underflows.

    Args:
        radius: Radii r, 0 or more.
        size: Number of dimensions d, at least 1.

    Returns:
        The logarithms, ``-inf`` at radius 0.

    References:
        DLMF, *Digital library of mathematical functions*, 8.7.1.
    """
    a = size / 2
    x = np.square(np.asarray(radius, dtype=np.float64)) / 2
    direct = special.gammainc(a, x)
    small = np.minimum(x, a)  # the tail is asked for far below a only
    with np.errstate(divide="ignore"):
        tail = a * np.log(small) - small - special.gammaln(a + 1) + np.log(_series(a, small))
        return np.asarray(np.where(direct > SMALLEST, np.log(direct), tail))


def _series(a: float, x: npt.ArrayLike) -> Any:
    """The sum over k of x^k / ((a+1)...(a+k)), for x at most a."""
    x = np.asarray(x)
    term = np.ones_like(x)
    total = np.ones_like(x)
    k = 0
    while bool((term > np.finfo(np.float64).eps * total).any()):
        k += 1
        term = term * x / (a + k)
        total = total + term
    return total


def truncated_chi(uniform: Tensor, size: int, radius: Tensor) -> Tensor:
    """Quantiles of the norm of a standard normal vector, conditioned on being at most a radius.

    Args:
        uniform: Probabilities in [0, 1), float64.
        size: Number of dimensions.
        radius: Largest norms, 0 to infinity, one per probability.

    Returns:
        Norms in float64.
    """
    u = np.maximum(uniform.numpy(), np.finfo(np.float64).tiny)
    limit = radius.numpy()
    return torch.from_numpy(chi_quantile(np.log(u) + log_chi_cdf(limit, size), size, limit))


def chi_quantile(log_share: Array, size: int, limit: Array) -> Array:
    r"""The norm r with :math:`\ln F(r)` as given.

    Args:
        log_share: Logarithms of probabilities.
        size: Number of dimensions.
        limit: Norms that are not exceeded, 0 to infinity, of the same shape.

    Returns:
        Norms, at most the limits.
    """
    a = size / 2
    target = np.exp(log_share)
    norms = np.sqrt(2 * special.gammaincinv(a, target))
    deep = (target <= SMALLEST) & (limit > 0)
    if deep.any():
        norms[deep] = np.sqrt(2 * np.exp(_log_inverse(a, log_share[deep], np.log(np.square(limit[deep]) / 2))))
    return np.minimum(np.where(limit > 0, norms, 0.0), limit)


def norms_in_ball(norms: Array, size: int, radius: Array) -> Array:
    r"""The norm whose probability inside of a ball is that of a given norm without a ball.

    .. math:: \tau(r) = F^{-1}\big(F(r)\, F(\epsilon)\big)

    It takes norms of standard normal vectors to those of vectors conditioned on the ball. Above the median the equation
    is solved for probabilities of larger norms, which do not round to 0 where those of smaller ones round to 1.

    Args:
        norms: Norms r, 0 to infinity.
        size: Number of dimensions.
        radius: Radii of the ball, 0 to infinity, of the same shape.

    Returns:
        Norms, at most :math:`\min(r, \epsilon)`.
    """
    a, inside = size / 2, np.minimum(norms, radius)
    above, beyond = (special.gammaincc(a, np.square(bound) / 2) for bound in (norms, radius))
    larger = above + beyond - above * beyond
    high = (larger < 0.5) & (beyond > 0)
    inside[high] = np.minimum(inside[high], np.sqrt(2 * special.gammainccinv(a, larger[high])))
    low = (larger >= 0.5) & (beyond > 0)
    log_share = log_chi_cdf(norms[low], size) + log_chi_cdf(radius[low], size)
    inside[low] = chi_quantile(log_share, size, inside[low])
    return inside


def _log_inverse(a: float, log_target: Array, start: Array) -> Array:
    """Newton's method on ln P(a, e^t), which rises and is concave in t: it cannot overshoot twice."""
    t = np.minimum(start, np.log(a))
    for _ in range(100):
        x = np.exp(t)
        total = _series(a, x)
        log_p = a * t - x - special.gammaln(a + 1) + np.log(total)
        slope = a / total  # d ln P / dt = x^a e^-x / (Gamma(a) P) = a / series
        step = (log_p - log_target) / slope
        t = t - step
        if bool((np.abs(step) < 1e-14 * np.maximum(1.0, np.abs(t))).all()):
            break
    return t
