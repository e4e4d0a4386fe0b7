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
    a = size / 2
    log_target = np.log(u) + log_chi_cdf(limit, size)
    target = np.exp(log_target)
    norms = np.sqrt(2 * special.gammaincinv(a, target))
    deep = (target <= SMALLEST) & (limit > 0)
    if deep.any():
        norms[deep] = np.sqrt(2 * np.exp(_log_inverse(a, log_target[deep], np.log(np.square(limit[deep]) / 2))))
    return torch.from_numpy(np.minimum(np.where(limit > 0, norms, 0.0), limit))


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
