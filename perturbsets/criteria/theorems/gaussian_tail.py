r"""The paper's form of the lemma: mass of a Gaussian outside of a ball, by the triangle inequality.

An offset drawn from the recognition distribution is :math:`u = \Delta + \rho \odot v` with v standard normal,
:math:`\Delta = (\mu_q - \mu_p)/\sigma_p` and :math:`\rho = \sigma_q/\sigma_p`. So
:math:`\|u\| \le \|\Delta\| + B\|v\|` with :math:`B = \max_j \rho_j`, and as twice the divergence is
:math:`\|\Delta\|^2 + \sum_j (\rho_j^2 - 1 - \ln\rho_j^2)` with no term below 0, a bound K of it gives
:math:`\|\Delta\| \le \sqrt{2K}`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perturbsets.criteria.theorems.tail import Number, log_outside, radius_at

STEPS = 20  # of Newton's method; five suffice from where it starts


def largest_ratio(kl: Number) -> Tensor:
    r"""The largest ratio of scales that a divergence allows.

    .. math:: B^2 = \max\{t : t - 1 - \ln t \le 2K\} \le 1 + 2\sqrt K + 2K

    The right side meets the condition with "at least", as :math:`e^y \ge 1 + y + y^2/2` for :math:`y = 2\sqrt K`;
    from there Newton's method falls to the root, so that every step of it is a bound too. The root is
    :math:`-W_{-1}(-e^{-1-2K})`, Lambert's function.

    Args:
        kl: :math:`K \ge \mathrm{KL}(q \| p)` of diagonal Gaussians, in nats.

    Returns:
        Bounds B of :math:`\max_j \sigma_{q,j}/\sigma_{p,j}` in float64.

    Example:
        >>> round(largest_ratio(20.0).item(), 2), round((1 + 2 * 20**0.5 + 2 * 20) ** 0.5, 2)
        (6.69, 7.07)
    """
    kl = torch.as_tensor(kl, dtype=torch.float64)
    above = 2 * kl.sqrt() + 2 * kl  # t - 1, which keeps its digits near 0
    for _ in range(STEPS):
        step = (above - above.log1p() - 2 * kl) * (1 + above) / above
        above = torch.where(step > 0, above - step, above)
    return (1 + above).sqrt()


def paper_radius(kl: Number, alpha: Number, size: int, ratio: Number | None = None) -> Tensor:
    r"""The radius at which the paper's form leaves a given mass outside.

    .. math:: \epsilon = \sqrt{2K} + B r, \qquad P(\chi^2_d > r^2) = \alpha

    Args:
        kl: Bounds K of the divergence, in nats.
        alpha: Mass α outside that is allowed, in (0, 1).
        size: Number of dimensions d.
        ratio: Bounds B of the ratios of scales; by default those that K gives, :func:`largest_ratio`.

    Returns:
        Radii ε in float64.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 3.

    Example:
        >>> round(paper_radius(20.0, 0.5, 16).item(), 1)
        32.5
    """
    kl = torch.as_tensor(kl, dtype=torch.float64)
    ratio = largest_ratio(kl) if ratio is None else ratio
    return (2 * kl).sqrt() + ratio * radius_at(torch.as_tensor(alpha, dtype=torch.float64).log(), size)


def paper_outside(radius: Number, kl: Number, size: int, ratio: Number | None = None) -> Tensor:
    r"""The mass outside of a given ball that the paper's form promises: :func:`paper_radius` the other way round.

    .. math:: \alpha \le P(\chi^2_d > r^2), \qquad r = \max\Big(0, \frac{\epsilon - \sqrt{2K}}{B}\Big)

    Args:
        radius: Radii ε.
        kl: Bounds K of the divergence, in nats.
        size: Number of dimensions d.
        ratio: Bounds B of the ratios of scales; by default those that K gives.

    Returns:
        Bounds of α in float64; 1 where nothing is proven.
    """
    kl = torch.as_tensor(kl, dtype=torch.float64)
    ratio = largest_ratio(kl) if ratio is None else ratio
    return log_outside(((radius - (2 * kl).sqrt()) / ratio).clamp_min(0), size).exp()
