r"""The peak of a posterior: in the ball, where images are generated, and in the whole space, for a linear generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from perturbsets._types import Offsets, PerImage, Rows
from perturbsets.criteria.likelihood.offset_likelihood import Gain, OffsetLikelihood
from perturbsets.criteria.likelihood.transport import Matrices, Points, Transport

ENOUGH = 0.1  # nats; a search that gains less in a step is over, and one that generates no images
LEAST = 1e-6  # at this gain
DAMPING, QUICKER, HOPELESS = 1e-3, 10.0, 1e6
SURFACE_STEPS = 30  # of the search for a multiplier
PEAK_STEPS = 60

Trial = Callable[[Offsets, Rows, PerImage], Offsets]
Value = Callable[[Offsets, Rows], PerImage]


def likeliest(likelihood: OffsetLikelihood, start: Offsets, lengths: Offsets, *, steps: int) -> Offsets:
    r"""The offset in the ball where :math:`\ln p(\tilde x \mid u, x) - \frac12 \|u\|^2` is highest, by damped steps.

    Each step goes to the best point of the ball for the generator's linear approximation. A step beyond the surface,
    projected back, would end elsewhere: far below, where one direction is known more sharply than another.

    Args:
        likelihood: The likelihood of the pairs.
        start: First offsets; projected onto the ball.
        lengths: Lengths of the secants.
        steps: Largest number of steps, each with as many generated images as there are coordinates, and two.

    Returns:
        The best offsets found, each at least as good as the start.

    References:
        Nocedal and Wright, *Numerical optimization*, 2006, sec. 10.3 (Levenberg-Marquardt) and 4.3 (best point of a
        ball).
    """
    region = likelihood.region

    def value(offsets: Offsets, rows: Rows) -> PerImage:
        return likelihood.keep(rows)(offsets[None])[0][0] - 0.5 * offsets.double().square().sum(1)

    def trial(offsets: Offsets, rows: Rows, damping: PerImage) -> Offsets:
        _, pulled, curvature = expand(likelihood.keep(rows), offsets, lengths[rows], sides=1)
        here = offsets.double()
        values, basis = torch.linalg.eigh(_damped(curvature + torch.eye(region.size).to(curvature), damping))
        goal = values * (here[:, None] @ basis)[:, 0] - ((pulled + here)[:, None] @ basis)[:, 0]
        part = region.ball.keep(rows)
        best = _least_in_ball(values, goal, part.radii(here))
        return part.project((basis @ best[..., None])[..., 0].to(offsets))

    return _climb(region.project(start), value, trial, steps=steps, enough=ENOUGH)


def expand(
    likelihood: OffsetLikelihood, offsets: Offsets, lengths: Offsets, *, sides: int
) -> tuple[Gain, Offsets, Tensor]:
    r"""Gain :math:`J^\top W`, gradient and Gauss-Newton curvature of :math:`-\ln p(\tilde x \mid u, x)`."""
    slopes = likelihood.secants(offsets, lengths, sides=sides)
    gain = slopes.mT * likelihood.information(offsets)[:, None]
    return gain, likelihood.pull(offsets[None], gain)[0], (gain @ slopes).double()


@dataclass(frozen=True)
class LinearPosterior:
    r"""The posterior of points y, were the generator linear around given offsets :math:`u_0`.

    .. math:: -h\big(T(y)\big) - \tfrac12 \|y\|^2, \qquad
        h(u) = e^\top (u - u_0) + \tfrac12 (u - u_0)^\top H\, (u - u_0)

    is its logarithm up to a constant: finding its peak generates no images.

    Args:
        transport: T.
        offsets: Offsets :math:`u_0`, float64.
        gradient: Gradient e of the negative log-likelihood there.
        curvature: Its Gauss-Newton curvature H.
    """

    transport: Transport
    offsets: Offsets
    gradient: Offsets
    curvature: Matrices

    def keep(self, rows: Rows) -> LinearPosterior:
        """That of some of the pairs."""
        return LinearPosterior(self.transport.keep(rows), self.offsets[rows], self.gradient[rows], self.curvature[rows])

    def value(self, points: Points) -> Float[Tensor, "*N B"]:
        """The logarithm, up to a constant."""
        apart = self.transport(points) - self.offsets
        return -0.5 * ((self.gradient + self._gradient(points)) * apart + points.square()).sum(-1)

    def around(self, points: Offsets) -> tuple[Offsets, Offsets, Matrices]:
        """The negative logarithm's gradient and curvature: eigenvalues of the latter, and eigenvectors.

        Of eigenvalues the size counts and not the sign, and they are 1 at least, as at any peak.
        """
        gradient = self._gradient(points)
        values, basis = torch.linalg.eigh(self.transport.curvature(points, gradient, self.curvature))
        return self.transport.pull(points, gradient) + points, values.abs().clamp_min(1), basis

    def peak(self) -> Offsets:
        """The point where it is highest."""

        def value(points: Offsets, rows: Rows) -> PerImage:
            return self.keep(rows).value(points)

        def trial(points: Offsets, rows: Rows, damping: PerImage) -> Offsets:
            gradient, values, basis = self.keep(rows).around(points)
            return points - torch.linalg.solve(_damped(basis @ torch.diag_embed(values) @ basis.mT, damping), gradient)

        return _climb(self.transport.back(self.offsets), value, trial, steps=PEAK_STEPS, enough=LEAST)

    def _gradient(self, points: Points) -> Points:
        apart = self.transport(points) - self.offsets
        return self.gradient + (self.curvature @ apart[..., None])[..., 0]


def _climb(start: Offsets, value: Value, trial: Trial, *, steps: int, enough: float) -> Offsets:
    """Damped steps, row by row: a trial that is no better is repeated with more damping."""
    best = start.clone()
    rows = torch.arange(len(best), device=best.device)
    level = value(best, rows)
    damping = torch.full_like(level, DAMPING)
    for _ in range(steps):
        here = best[rows]
        tried = trial(here, rows, damping[rows])
        gain = value(tried, rows) - level[rows]
        better = gain > 0
        best[rows] = tried.where(better[:, None], here)
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
        found = goal / (values + multiplier)
        norms = found.norm(dim=1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)
        bend = (found.square() / (values + multiplier)).sum(1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)
        multiplier = (multiplier + (norms / radii - 1) * norms.square() / bend).clamp_min(0)
    return goal / (values + multiplier)
