r"""Bounds of the mass that a distribution has outside of a ball, given its divergence from the prior.

With β the mass of the standard normal outside of a ball and K a bound of a divergence, all that follows is
one-dimensional. β underflows in moderate balls (at d = 16 from radius 39 on), so its logarithm is passed on.

The paper's form of the bound uses the triangle inequality. An offset drawn from the recognition distribution is
:math:`u = \Delta + \rho \odot v` with v standard normal, :math:`\Delta = (\mu_q - \mu_p)/\sigma_p` and
:math:`\rho = \sigma_q/\sigma_p`. So :math:`\|u\| \le \|\Delta\| + B\|v\|` with :math:`B = \max_j \rho_j`, and as
twice the divergence is :math:`\|\Delta\|^2 + \sum_j (\rho_j^2 - 1 - \ln\rho_j^2)` with no term below 0, a bound K of
it gives :math:`\|\Delta\| \le \sqrt{2K}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from perturbsets.sets.balls import SMALLEST

HALVINGS = 100  # of a bracket: more than the digits of a double, so that short brackets near 0 are resolved too
NEWTON_STEPS = 20  # five suffice from where it starts

Number = float | Tensor
"""A number or a tensor of any shape; several of them are broadcast against each other."""


def log_outside(radius: Number, size: int) -> Tensor:
    r"""Logarithm of the mass of a standard normal vector outside of a ball.

    .. math:: \ln\beta = \ln P(\chi^2_d > \epsilon^2) = \ln Q(\tfrac d2, \tfrac{\epsilon^2}2)

    with Q the regularised upper incomplete gamma function; its continued fraction is used where it underflows.
    Radii are 0 to infinity, in prior standard deviations; results are in float64.

    References:
        DLMF, *Digital library of mathematical functions*, 8.9.2 (continued fraction).
    """
    a = size / 2
    x = in_float64(radius).square().div(2).cpu().numpy()
    inside, outside = special.gammainc(a, x), special.gammaincc(a, x)
    with np.errstate(divide="ignore"):
        direct = np.where(inside < 0.5, np.log1p(-np.minimum(inside, 0.5)), np.log(outside))
    deep = (outside <= SMALLEST) & np.isfinite(x)
    # Elsewhere the fraction is evaluated at points where it converges at once.
    far = np.where(deep, x, 2 * a + 2)
    tail = a * np.log(far) - far - special.gammaln(a) + np.log(_fraction(a, far))
    return torch.from_numpy(np.asarray(np.where(deep, tail, direct)))


def radius_at(log_mass: Number, size: int) -> Tensor:
    r"""The radius of the ball outside of which a standard normal vector has a given mass.

    The mass is given by its logarithm :math:`\ln\beta \le 0`; of the radii ε with :math:`P(\chi^2_d > \epsilon^2) \le
    \beta` it is the smallest within rounding, in float64.

    References:
        Laurent and Massart, *Adaptive estimation of a quadratic functional by model selection*, 2000, lemma 1 (the
        upper end of the search).
    """
    target = in_float64(log_mass).cpu()
    nats = torch.where(target.isfinite(), -target, 0.0)
    largest = (size + 2 * (size * nats).sqrt() + 2 * nats).sqrt()
    radii = _first(torch.zeros_like(largest), largest, lambda radius: log_outside(radius, size) <= target)
    return torch.where(target.isfinite(), torch.where(target < 0, radii, 0.0), torch.inf)


def divergence(alpha: Number, log_beta: Number) -> Tensor:
    r"""Kullback-Leibler divergence between two Bernoulli distributions, in nats.

    .. math:: \mathrm{kl}(\alpha \| \beta) = \alpha \ln\frac\alpha\beta + (1-\alpha) \ln\frac{1-\alpha}{1-\beta}

    in float64, with α in [0, 1] and β given by its logarithm; infinite where β is 0 and α is not.
    """
    alpha, log_beta = in_float64(alpha), in_float64(log_beta)
    excess = torch.where(alpha > 0, alpha.log() - log_beta, -torch.inf)
    known = torch.where(log_beta == -torch.inf, torch.inf, _divergence(excess, log_beta))
    return torch.where(alpha > 0, known, -_log_complement(log_beta))


def outside_bound(kl: Number, log_beta: Number) -> Tensor:
    r"""The lemma: the largest mass outside of a ball that a divergence from the prior allows.

    .. math:: \alpha \le \max\{a \ge \beta : \mathrm{kl}(a \| \beta) \le K\}

    by the data processing inequality. A distribution that weights the prior by one constant inside and another outside
    reaches it, so nothing better follows from K alone. The bound is below 1 if and only if :math:`K < \ln(1/\beta)`,
    and concave in K.
    :math:`K \ge \mathrm{KL}(q \| p)` is in nats, :math:`\ln\beta` comes from :func:`log_outside`, and α is rounded
    upwards; exactly 1 where vacuous.

    References:
        Cover and Thomas, *Elements of information theory*, 2006, sec. 2.8 (data processing).

    Example:
        >>> outside_bound(20.0, log_outside(torch.tensor([8.0, 11.1224, 20.0]), 16)).round(decimals=3)
        tensor([1.0000, 0.5000, 0.1190], dtype=torch.float64)
    """
    nats, needed = torch.broadcast_tensors(in_float64(kl), -in_float64(log_beta))
    span = torch.where(needed.isfinite(), needed, 1.0)
    excess = _first(torch.zeros_like(span), span, lambda x: _divergence(x, -span) >= nats)
    alpha = torch.where(needed.isfinite(), (excess - span).exp(), 0.0)
    return torch.where(nats >= needed, 1.0, alpha.clamp_max(1 - 2**-53))


def radius_needed(kl: Number, alpha: Number, size: int) -> Tensor:
    """The smallest radius at which the lemma leaves no more than a given mass α in (0, 1) outside, in float64.

    Example:
        >>> round(radius_needed(20.0, 0.5, 16).item(), 1)
        11.1
    """
    nats, share = torch.broadcast_tensors(in_float64(kl), in_float64(alpha))
    log_share = share.log()
    # Without the term -(1 - α) ln(1 - β), which is not negative, kl(α‖β) = K is solved by this excess.
    largest = (nats - torch.special.xlog1py(1 - share, -share)) / share
    excess = _first(torch.zeros_like(largest), largest, lambda x: _divergence(x, log_share - x) >= nats)
    return radius_at(log_share - excess, size)


def in_float64(value: Number) -> Tensor:
    """A number or numbers as a tensor in float64."""
    return torch.as_tensor(value, dtype=torch.float64)


def _log_complement(log_mass: Tensor) -> Tensor:
    """The logarithm of 1 - e^t for t up to 0."""
    return torch.where(log_mass > -0.7, (-torch.expm1(log_mass)).log(), torch.log1p(-log_mass.exp()))


def _divergence(excess: Tensor, log_beta: Tensor) -> Tensor:
    """The divergence from x = ln(α/β), which does not cancel where α and β are nearly equal."""
    log_alpha = (log_beta + excess).clamp_max(0)
    rest = -torch.expm1(log_alpha)
    odds = log_beta.exp() / -torch.expm1(log_beta)
    near = torch.special.xlog1py(rest, (-odds * torch.expm1(excess)).clamp_min(-1))
    far = torch.special.xlogy(rest, rest) - rest * _log_complement(log_beta)
    return log_alpha.exp() * excess + torch.where(excess.abs() < 1, near, far)


def _first(low: Tensor, high: Tensor, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """The least point at which a monotone condition holds, by bisection; it holds at the upper end."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        success = holds(middle)
        low, high = torch.where(success, low, middle), torch.where(success, middle, high)
    return high


def _fraction(a: float, x: Any) -> Any:
    """The continued fraction of Γ(a, x) e^x / x^a, by the modified method of Lentz, for x above a + 1."""
    b = x + 1 - a
    c = np.full_like(b, 1 / np.finfo(np.float64).tiny)
    d = 1 / b
    value = d
    k = 0
    step = np.full_like(b, np.inf)
    while bool((np.abs(step - 1) > 4 * np.finfo(np.float64).eps).any()):
        k += 1
        b = b + 2
        d = 1 / (k * (a - k) * d + b)
        c = b + k * (a - k) / c
        step = c * d
        value = value * step
    return value


def largest_ratio(kl: Number) -> Tensor:
    r"""The largest ratio of scales that a divergence allows.

    .. math:: B^2 = \max\{t : t - 1 - \ln t \le 2K\} \le 1 + 2\sqrt K + 2K

    The right side lies above the root, as :math:`e^y \ge 1 + y + y^2/2` for :math:`y = 2\sqrt K`; from there Newton's
    method falls to the root, so that every step of it is a bound too. The root is :math:`-W_{-1}(-e^{-1-2K})`,
    Lambert's function.

    It bounds :math:`B = \max_j \sigma_{q,j}/\sigma_{p,j}` for :math:`K \ge \mathrm{KL}(q \| p)`, in nats, of diagonal
    Gaussians.

    Example:
        >>> round(largest_ratio(20.0).item(), 2), round((1 + 2 * 20**0.5 + 2 * 20) ** 0.5, 2)
        (6.69, 7.07)
    """
    kl = in_float64(kl)
    above = 2 * kl.sqrt() + 2 * kl  # t - 1, which keeps its digits near 0
    for _ in range(NEWTON_STEPS):
        step = (above - above.log1p() - 2 * kl) * (1 + above) / above
        above = torch.where(step > 0, above - step, above)
    return (1 + above).sqrt()


def paper_radius(kl: Number, alpha: Number, size: int, ratio: Number | None = None) -> Tensor:
    r"""The radius at which the paper's form leaves a given mass outside.

    .. math:: \epsilon = \sqrt{2K} + B r, \qquad P(\chi^2_d > r^2) = \alpha

    K is in nats, α in (0, 1), ε in float64; bounds B of the ratios of scales are by default those that K gives,
    :func:`largest_ratio`.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 3.

    Example:
        >>> round(paper_radius(20.0, 0.5, 16).item(), 1)
        32.5
    """
    kl = in_float64(kl)
    ratio = largest_ratio(kl) if ratio is None else ratio
    return (2 * kl).sqrt() + ratio * radius_at(in_float64(alpha).log(), size)


def paper_outside(radius: Number, kl: Number, size: int, ratio: Number | None = None) -> Tensor:
    r"""The bound of the mass outside of a given ball by the paper's form: the inverse of :func:`paper_radius`.

    .. math:: \alpha \le P(\chi^2_d > r^2), \qquad r = \max\Big(0, \frac{\epsilon - \sqrt{2K}}{B}\Big)

    It is in float64, and 1 where vacuous.
    """
    kl = in_float64(kl)
    ratio = largest_ratio(kl) if ratio is None else ratio
    return log_outside(((radius - (2 * kl).sqrt()) / ratio).clamp_min(0), size).exp()
