"""The L1 and L2 balls, and the norms of normal vectors conditioned on the latter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Offsets, PerImage
from perturbsets.sets.base import MOST_ROUNDS, Ball, uniform_draws


@dataclass(frozen=True)
class L1Ball(Ball):
    r"""The cross-polytope :math:`\sum_j |u_j| \le r`: few coordinates may change much.

    References:
        Duchi et al., *Efficient projections onto the l1-ball for learning in high dimensions*, 2008;
        Croce and Hein, *Mind the box: l1-APGD for sparse adversarial attacks on image classifiers*, 2021 (with bounds).
    """

    def norm(self, offsets: Offsets) -> PerImage:
        return offsets.abs().sum(1)

    def project(self, offsets: Offsets) -> Offsets:
        sizes = offsets.abs()
        return self._shrunk(sizes, sizes) * offsets.sign()

    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        caps = torch.where(offsets < 0, -low, high)
        return self._shrunk(offsets.abs(), caps) * offsets.sign()

    def _shrunk(self, sizes: Tensor, caps: Tensor) -> Tensor:
        r"""Sizes lowered by one threshold a row, cut at zero and at the caps, that sum up to the radius at most.

        .. math:: x_j = \min\{\max\{a_j - \theta, 0\}, b_j\}

        The sum falls, piecewise linear in :math:`\theta`: Newton's steps, or halvings of the bracket, end exactly.
        """
        radii = self.radii(sizes)
        tolerance = 64 * torch.finfo(sizes.dtype).eps * radii
        low, high = torch.zeros_like(radii), sizes.amax(1, keepdim=True) if sizes.shape[1] else torch.zeros_like(radii)
        threshold = low
        for _ in range(MOST_ROUNDS):
            lowered = sizes - threshold
            kept = lowered.clamp_min(0).minimum(caps)
            excess = kept.sum(1, keepdim=True) - radii
            done = (excess.abs() <= tolerance) | ((threshold == 0) & (excess <= 0))
            if bool(done.all()):
                break
            low, high = threshold.where(excess > 0, low), threshold.where(excess <= 0, high)
            moving = ((lowered > 0) & (lowered < caps)).sum(1, keepdim=True)
            newton = threshold + excess / moving.clamp_min(1)
            inside = (newton > low) & (newton < high) & (moving > 0)
            threshold = threshold.where(done, newton.where(inside, (low + high) / 2))
        total = kept.sum(1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
        return kept * (radii / total).clamp_max(1)  # the last rounding stays inside too

    def steepest(self, gradient: Offsets) -> Offsets:
        largest = gradient.abs().argmax(1, keepdim=True)
        return torch.zeros_like(gradient).scatter_(1, largest, gradient.gather(1, largest).sign())

    def steepest_in_box(self, gradient: Offsets, low: Tensor, high: Tensor) -> Offsets:
        """The gradient in those coordinates that the best corner of ball and box uses, for a linear loss.

        That corner fills the coordinates of largest gradient up to their bounds, one after the other, until the radius
        is spent. A step along one coordinate alone, the steepest without bounds, gains nothing once that is at its
        bound; steps in proportion to the gradient converge to the corner.
        """
        radii = self.radii(gradient)
        order = gradient.abs().argsort(1, descending=True)
        caps = torch.where(gradient < 0, -low, high).gather(1, order)
        moves = ((caps.cumsum(1) - caps < radii) & (caps > 0)).to(gradient.dtype)
        step = torch.zeros_like(gradient).scatter_(1, order, moves) * gradient
        return step / self.norm(step)[:, None].clamp_min(torch.finfo(gradient.dtype).tiny)

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        count, size = like.shape
        draws = -torch.log1p(-uniform_draws(torch.Size([count, size + 1]), generator))  # exponential
        signs = 2.0 * (uniform_draws(like.shape, generator) < 0.5) - 1
        inside = signs * draws[:, :size] / draws.sum(1, keepdim=True)
        return self.project(inside.to(like) * radii)

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Not available exactly: always a ``ValueError``."""
        raise ValueError("ball must be l2 or linf to draw from the normal distribution conditioned on it, got l1")


# Norms of normal vectors, conditioned on a ball. The norm of a standard normal vector in d dimensions has the
# distribution function :math:`F(r) = P(d/2, r^2/2)`, with P the regularised lower incomplete gamma function.
# Conditioned on :math:`r \le \epsilon`, a draw is :math:`F^{-1}(U F(\epsilon))`. In many dimensions and small balls F
# is far below the smallest double (at d = 4096 and r = 0.1 its logarithm is about -24,000), so there the equation is
# solved for logarithms.
SMALLEST = 1e-280
Array = npt.NDArray[np.float64]


def log_chi_cdf(radius: Array, size: int) -> Array:
    r"""Logarithm of the probability that a standard normal vector has norm at most r.

    .. math:: \ln P(a, x) = a \ln x - x - \ln\Gamma(a+1) + \ln \sum_{k \ge 0} \frac{x^k}{(a+1)\cdots(a+k)}

    with :math:`a = d/2` in d dimensions and :math:`x = r^2/2`; ``-inf`` at radius 0. The series (DLMF, *Digital library
    of mathematical functions*, 8.7.1) is used where the probability underflows.
    """
    a = size / 2
    x = np.square(np.asarray(radius, dtype=np.float64)) / 2
    direct = special.gammainc(a, x)
    small = np.minimum(x, a)  # the tail is needed far below a only
    with np.errstate(divide="ignore"):
        tail = a * np.log(small) - small - special.gammaln(a + 1) + np.log(_series(a, small))
        return np.asarray(np.where(direct > SMALLEST, np.log(direct), tail))


def _series(a: float, x: npt.ArrayLike) -> Any:
    """The sum over k of x^k / ((a+1)...(a+k)), for x at most a."""
    x = np.asarray(x)
    term, total, k = np.ones_like(x), np.ones_like(x), 0
    while bool((term > np.finfo(np.float64).eps * total).any()):
        k += 1
        term = term * x / (a + k)
        total = total + term
    return total


def truncated_chi(uniform: Tensor, size: int, radius: Tensor) -> Tensor:
    """Quantiles in float64 of the norm of a standard normal vector, conditioned on being at most a radius.

    There is a radius, 0 to infinity, for each of the probabilities in [0, 1).
    """
    u = np.maximum(uniform.numpy(), np.finfo(np.float64).tiny)
    limit = radius.numpy()
    return torch.from_numpy(chi_quantile(np.log(u) + log_chi_cdf(limit, size), size, limit))


def chi_quantile(log_share: Array, size: int, limit: Array) -> Array:
    r"""The norm r with :math:`\ln F(r)` as given, or the limit, 0 to infinity, if that is smaller."""
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
    is solved for probabilities of larger norms, which do not round to 0 where those of smaller ones round to 1. The
    norms r and radii :math:`\epsilon` are 0 to infinity, and the result is at most the smaller of them.
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


@dataclass(frozen=True)
class L2Ball(Ball):
    r"""The Euclidean ball :math:`\|u\|_2 \le r`."""

    def norm(self, offsets: Offsets) -> PerImage:
        return offsets.norm(dim=1)

    def project(self, offsets: Offsets) -> Offsets:
        norms = offsets.norm(dim=1, keepdim=True)
        return offsets * (self.radii(offsets) / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1)

    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        r"""The nearest points of ball and box.

        The projection is :math:`\operatorname{clip}(\sqrt{s}\,v)` with the largest :math:`s \le 1` that stays in
        the ball. Its squared norm is concave and piecewise linear in s, so that the secant method from below
        never leaves the ball, and ends at the exact s once two points lie on the last piece.
        """
        radii = self.radii(offsets)
        goal = radii.square()
        tiny = torch.finfo(offsets.dtype).tiny
        enough = goal * (1 - 64 * torch.finfo(offsets.dtype).eps)
        share = (goal / offsets.norm(dim=1, keepdim=True).square().clamp_min(tiny)).clamp_max(1)
        former_share = former = torch.zeros_like(share)
        for _ in range(MOST_ROUNDS):
            clipped = (share.sqrt() * offsets).clamp_(low, high)
            norms = clipped.norm(dim=1, keepdim=True)
            squares = norms.square()
            done = (squares >= enough) | (share >= 1)
            if bool(done.all()):
                break
            width = (share - former_share) / (squares - former).clamp_min(tiny)
            following = (share + (goal - squares) * width).clamp_max(1)
            former_share, former, share = share, squares, share.where(done, following)
        return clipped.mul_((radii / norms.clamp_min(tiny)).clamp_max(1))  # the last rounding stays inside too

    def steepest(self, gradient: Offsets) -> Offsets:
        # In double precision, since squares of tiny gradients would underflow.
        norms = in_double(gradient).norm(dim=1, keepdim=True).to(gradient)
        return gradient / norms.clamp_min(torch.finfo(gradient.dtype).tiny)

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        share = uniform_draws(len(like), generator) ** (1 / like.shape[1])  # of the radius
        return self.project(random_directions(like, generator) * share[:, None].to(radii) * radii)

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self.radii(like.new_empty(len(like), 0, dtype=torch.float64, device="cpu"))[:, 0]
        norms = truncated_chi(uniform_draws(len(like), generator), like.shape[1], radii)
        return self.project(random_directions(like, generator) * norms[:, None].to(like))


def random_directions(like: Offsets, generator: torch.Generator | None = None) -> Offsets:
    """Unit vectors, uniform over the sphere; ``like`` gives shape, dtype and device.

    A normal draw of zeros alone has no direction (one in ten million, in one dimension): it counts as along all axes.
    """
    device = "cpu" if generator is None else generator.device
    draws = torch.randn(like.shape, dtype=like.dtype, generator=generator, device=device).to(like.device)
    draws = draws.masked_fill((draws == 0).all(1, keepdim=True), 1)
    return draws / draws.norm(dim=1, keepdim=True)
