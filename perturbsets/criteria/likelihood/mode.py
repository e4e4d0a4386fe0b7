r"""The mode of a posterior in the ball, and the map that takes the whole space into the ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Offsets, PerImage, Rows
from perturbsets.criteria.likelihood.importance import Gain, OffsetLikelihood
from perturbsets.printing import Printed
from perturbsets.sets.balls import chi_quantile, log_chi_cdf, norms_in_ball

LEAST_NORM = 1e-4  # below it the map is linear
FARTHEST = 0.999  # quantile of the prior's norms for the point that replaces an offset outside of the ball
ENOUGH = 0.1  # nats; the search ends at a step that gains less, where images are decoded
LEAST = 1e-6  # likewise, where none are
DAMPING, QUICKER, HOPELESS = 1e-3, 10.0, 1e6
SURFACE_STEPS = 30  # of the search for a multiplier
PEAK_STEPS = 60

Trial = Callable[[Offsets, Rows, PerImage], Offsets]
Value = Callable[[Offsets, Rows], PerImage]
Points = Float[Tensor, "*N B Z"]
Matrices = Float[Tensor, "B Z Z"]


class Transport:
    r"""A map T of the space into the ball that takes the standard normal to the normal conditioned on the ball.

    .. math:: T(y) = \tau(\|y\|)\, y / \|y\|, \qquad F(\tau(r)) = F(r)\, F(\epsilon)

    with F the distribution function of the norm of a standard normal vector. So

    .. math:: \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x) = \mathbb E_{y \sim N(0, I)} p(\tilde x \mid T(y), x),

    and the right side has no boundary: any distribution of y has all of its mass in the ball, and a posterior with its
    mode at the surface of the ball has a smooth peak at a finite y. With :math:`r = \|y\|`, :math:`n = y / r` and
    :math:`m(r) = \tau(r) / r` the Jacobian is the symmetric :math:`J = m I + (\tau' - m)\, n n^\top`, where

    .. math:: \ln \tau' = (d - 1) \ln \tfrac r\tau - \tfrac{r^2 - \tau^2}2 + \ln F(\epsilon).

    Radii of the balls are 0 to infinity, in float64.
    """

    def __init__(self, radii: PerImage, size: int) -> None:
        self.radii, self.size = radii, size

    def __call__(self, points: Points) -> Points:
        """Offsets in the ball."""
        norms = self._norms(points)
        return points * (self._inside(norms) / norms)

    def select(self, rows: Rows) -> Transport:
        """The map of selected pairs."""
        return Transport(self.radii[rows], self.size)

    def back(self, offsets: Offsets) -> Offsets:
        r"""Points that T takes to given offsets, or near them.

        Offsets outside of the ball or just below its surface have no point, or one very far away: the result has the
        norm that 99.9 % of standard normal vectors do not exceed, or that of the nearest offset in the ball if larger.
        """
        norms = offsets.norm(dim=1).clamp_min(torch.finfo(offsets.dtype).tiny)
        inside = torch.minimum(norms, self.radii)
        shares, whole = (log_chi_cdf(bound.cpu().numpy(), self.size) for bound in (inside, self.radii))
        limit = np.full_like(whole, np.inf)
        with np.errstate(invalid="ignore"):  # both logarithms are -inf at radius 0
            length = chi_quantile(np.fmin(shares - whole, np.log(FARTHEST)), self.size, limit)
        return offsets * (torch.maximum(torch.from_numpy(length).to(inside), inside) / norms)[:, None]

    def pull(self, points: Points, gradients: Points) -> Points:
        """Gradients with respect to points, from those with respect to the offsets: J times them."""
        norms = self._norms(points)
        ratio, slope, _ = self._slopes(norms)
        direction = points / norms
        return ratio * gradients + (slope - ratio) * direction * (direction * gradients).sum(-1, keepdim=True)

    def curvature(self, points: Offsets, gradients: Offsets, curvature: Matrices) -> Matrices:
        r"""Second derivatives of :math:`h(T(y)) + \frac12 \|y\|^2`, from those of h.

        .. math:: J (\nabla^2 h) J + m' (n e^\top + e n^\top)
            + (e^\top y) \big(m'' n n^\top + \tfrac{m'}r (I - n n^\top)\big) + I, \qquad e = \nabla h
        """
        norms = self._norms(points)
        ratio, slope, bend = self._slopes(norms)
        direction, one = points / norms, torch.eye(self.size).to(points)
        radial = direction[:, :, None] * direction[:, None]
        first = (slope - ratio) / norms
        second = (bend - 2 * first) / norms
        along = (gradients * points).sum(1, keepdim=True)[..., None]
        mixed = direction[:, :, None] * gradients[:, None]
        jacobian = ratio[..., None] * one + (slope - ratio)[..., None] * radial
        bent = second[..., None] * radial + (first / norms)[..., None] * (one - radial)
        return jacobian @ curvature @ jacobian + first[..., None] * (mixed + mixed.mT) + along * bent + one

    def _norms(self, points: Points) -> Tensor:
        return points.norm(dim=-1, keepdim=True).clamp_min(LEAST_NORM)

    def _inside(self, norms: Tensor) -> Tensor:
        radii = self.radii[:, None].expand(norms.shape)
        return torch.from_numpy(norms_in_ball(norms.cpu().numpy(), self.size, radii.cpu().numpy())).to(norms)

    def _slopes(self, norms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""The ratio :math:`\tau / r` and the first and second derivative of τ; zero in a ball of radius 0."""
        inside, more = self._inside(norms), self.size - 1
        safe = inside.clamp_min(torch.finfo(norms.dtype).tiny)
        whole = torch.from_numpy(log_chi_cdf(self.radii.cpu().numpy(), self.size)).to(norms)[:, None]
        slope = (more * (norms / safe).log() - (norms.square() - safe.square()) / 2 + whole).exp()
        slope = slope.masked_fill(inside == 0, 0)
        bend = slope * (more / norms - norms - slope * (more / safe - safe))
        return inside / norms, slope, bend.masked_fill(inside == 0, 0)


def likeliest(likelihood: OffsetLikelihood, start: Offsets, lengths: Offsets, *, steps: int) -> Offsets:
    r"""The offset in the ball where :math:`\ln p(\tilde x \mid u, x) - \frac12 \|u\|^2` is highest, by damped steps.

    Each step goes to the best point of the ball for the linearised generator. (To project an unconstrained step would
    end far below it, where curvatures differ between directions.) The best offsets are at least as good as the start,
    projected onto the ball. Each step decodes one image per coordinate, and two.

    References:
        Nocedal and Wright, *Numerical optimization*, 2006, sec. 10.3 (Levenberg-Marquardt) and 4.3 (best point of a
        ball).
    """
    region = likelihood.region

    def value(offsets: Offsets, rows: Rows) -> PerImage:
        return likelihood.select(rows)(offsets[None])[0][0] - 0.5 * in_double(offsets).square().sum(1)

    def trial(offsets: Offsets, rows: Rows, damping: PerImage) -> Offsets:
        _, pulled, curvature = expand(likelihood.select(rows), offsets, lengths[rows], sides=1)
        here = in_double(offsets)
        values, basis = torch.linalg.eigh(_damped(curvature + torch.eye(region.size).to(curvature), damping))
        goal = values * (here[:, None] @ basis)[:, 0] - ((pulled + here)[:, None] @ basis)[:, 0]
        part = region.ball.select(rows)
        best = _least_in_ball(values, goal, part.radii(here))
        return part.project((basis @ best[..., None])[..., 0].to(offsets))

    return _climb(region.project(start), value, trial, steps=steps, enough=ENOUGH)


def expand(
    likelihood: OffsetLikelihood, offsets: Offsets, lengths: Offsets, *, sides: int
) -> tuple[Gain, Offsets, Tensor]:
    r"""Gain :math:`J^\top W`, gradient and Gauss-Newton curvature of :math:`-\ln p(\tilde x \mid u, x)`."""
    slopes = likelihood.secants(offsets, lengths, sides=sides)
    gain = slopes.mT * likelihood.information(offsets)[:, None]
    return gain, likelihood.pull(offsets[None], gain)[0], in_double(gain @ slopes)


@dataclass(frozen=True)
class LinearPosterior(Printed):
    r"""The posterior of points y for the generator linearised around offsets :math:`u_0`.

    .. math:: -h\big(T(y)\big) - \tfrac12 \|y\|^2, \qquad
        h(u) = e^\top (u - u_0) + \tfrac12 (u - u_0)^\top H\, (u - u_0)

    is its logarithm up to a constant, with e the gradient of the negative log-likelihood at :math:`u_0` and H its
    Gauss-Newton curvature, in float64: the peak is found without decoding images.
    """

    transport: Transport
    offsets: Offsets
    gradient: Offsets
    curvature: Matrices

    def select(self, rows: Rows) -> LinearPosterior:
        """The posterior of selected pairs."""
        parts = (part[rows] for part in (self.offsets, self.gradient, self.curvature))
        return LinearPosterior(self.transport.select(rows), *parts)

    def value(self, points: Points) -> Float[Tensor, "*N B"]:
        """The logarithm, up to a constant."""
        apart = self.transport(points) - self.offsets
        return -0.5 * ((self.gradient + self._gradient(points)) * apart + points.square()).sum(-1)

    def around(self, points: Offsets) -> tuple[Offsets, Offsets, Matrices]:
        """Gradient of the negative logarithm, and its curvature's eigenvalues (absolute, at least 1) and vectors."""
        gradient = self._gradient(points)
        values, basis = torch.linalg.eigh(self.transport.curvature(points, gradient, self.curvature))
        return self.transport.pull(points, gradient) + points, values.abs().clamp_min(1), basis

    def peak(self) -> Offsets:
        """The mode."""

        def value(points: Offsets, rows: Rows) -> PerImage:
            return self.select(rows).value(points)

        def trial(points: Offsets, rows: Rows, damping: PerImage) -> Offsets:
            gradient, values, basis = self.select(rows).around(points)
            return points - torch.linalg.solve(_damped(basis @ torch.diag_embed(values) @ basis.mT, damping), gradient)

        return _climb(self.transport.back(self.offsets), value, trial, steps=PEAK_STEPS, enough=LEAST)

    def _gradient(self, points: Points) -> Points:
        apart = self.transport(points) - self.offsets
        return self.gradient + (self.curvature @ apart[..., None])[..., 0]


def _climb(start: Offsets, value: Value, trial: Trial, *, steps: int, enough: float) -> Offsets:
    """Damped steps for each row: a trial that is no better is repeated with more damping."""
    best = start.clone()
    level = value(best, torch.arange(len(best), device=best.device))
    rows = torch.arange(len(best), device=level.device)
    damping = torch.full_like(level, DAMPING)
    for _ in range(steps):
        here = best[rows]
        tried = trial(here, rows, damping[rows])
        gain = value(tried, rows) - level[rows]
        better = gain > 0
        best[rows] = tried.where(better[:, None].to(tried.device), here)
        level[rows] += gain.clamp_min(0)
        damping[rows] *= torch.where(better, 1 / QUICKER, QUICKER)
        over = (better & (gain < enough)) | (damping[rows] > HOPELESS)
        rows = rows[~over]
        if not len(rows):
            break
    return best


def _damped(curvature: Tensor, damping: PerImage) -> Tensor:
    return curvature + torch.diag_embed(damping[:, None] * curvature.diagonal(dim1=1, dim2=2))


def _least_in_ball(values: Offsets, goal: Offsets, radii: Tensor) -> Offsets:
    r"""The u with :math:`\|u\| \le \epsilon` where :math:`\frac12 \sum_j v_j u_j^2 - b_j u_j` is least.

    On the surface it is :math:`u_j = b_j / (v_j + \mu)` with a multiplier :math:`\mu \ge 0`, in which
    :math:`1 / \|u\|` is concave and nearly linear: Newton's method from 0 takes a few steps.
    """
    radii = radii.clamp_min(torch.finfo(torch.float32).tiny)
    multiplier = torch.zeros_like(radii)
    for _ in range(SURFACE_STEPS):
        point, tiny = goal / (values + multiplier), torch.finfo(goal.dtype).tiny
        norms = point.norm(dim=1, keepdim=True).clamp_min(tiny)
        bend = (point.square() / (values + multiplier)).sum(1, keepdim=True).clamp_min(tiny)
        multiplier = (multiplier + (norms / radii - 1) * norms.square() / bend).clamp_min(0)
    return goal / (values + multiplier)
