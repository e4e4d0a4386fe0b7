"""Proposals: distributions of points, one per pair, for importance sampling of an integral over the ball.

:class:`~perturbsets.criteria.likelihood.mode.Transport` takes all points into the ball, so every proposal has all of
its mass inside.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.double_precision import in_double
from cvae import DiagonalGaussian
from perturbsets._types import Draws, LogWeights, Offsets
from perturbsets.criteria.likelihood.importance import Gain, OffsetLikelihood
from perturbsets.criteria.likelihood.mode import LinearPosterior, Transport, expand
from perturbsets.criteria.theorems.bounds import standard_normal
from perturbsets.printing import Printed

LOG_2PI = math.log(2 * math.pi)
SHORTEST, LONGEST = 1e-3, 0.3  # secants, in prior standard deviations
SHARP = 1000.0  # precision that pixels add to the prior's 1, from which a direction counts as sharp
FREEDOM = 5  # degrees of freedom of the t distribution of the free directions
WIDER_FREE, WIDER_SHARP = 1.3, 1.1  # than the posterior, against heavy tails of the weights
SPLIT = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)  # scales from the mode at which the width of a side is measured (Geweke's)
FLATTEST = 1e-3  # nats that the posterior falls there at least


class Proposal(Printed, ABC):
    """A distribution of points per pair, with its density."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Independent draws in float64."""

    @abstractmethod
    def log_prob(self, points: Draws) -> LogWeights:
        """Logarithm of the density at any points, in float64."""


@dataclass(frozen=True)
class StandardNormal(Proposal):
    r"""The standard normal distribution of points around a centre of zeros, which is :math:`N_\epsilon` of offsets."""

    centre: Offsets

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return _normal_like(count, self.centre, generator)

    def log_prob(self, points: Draws) -> LogWeights:
        return -0.5 * (points.square() + LOG_2PI).sum(2)


@dataclass(frozen=True)
class Recognised(Proposal):
    r"""The recognition distribution of offsets, shifted towards the ball and stretched to points.

    .. math:: y \sim \tfrac{\tau^{-1}(\rho)}{\rho}\, \mathcal N(\mu', \operatorname{diag} \sigma^2), \qquad
        \|\mu'\|^2 = \min\big(\|\mu\|^2,\ \max(0, \epsilon^2 - \textstyle\sum_j \sigma_j^2)\big), \qquad
        \rho^2 = \|\mu'\|^2 + \textstyle\sum_j \sigma_j^2

    with :math:`\mu'` in the direction of :math:`\mu`. The squared norm of an offset is :math:`\rho^2` on average: with
    hundreds of coordinates that is where all draws are.
    """

    mean: Offsets
    log_scale: Offsets

    @classmethod
    def of(cls, posterior: DiagonalGaussian, prior: DiagonalGaussian, transport: Transport) -> Recognised:
        """The proposal from a distribution over latents."""
        mean = in_double(prior.offsets(posterior.mean))
        log_scale = in_double(posterior.log_scale - prior.log_scale)
        tiny, spread = torch.finfo(mean.dtype).tiny, (2 * log_scale).exp().sum(1)
        room = (transport.radii.square() - spread).clamp_min(0).sqrt()
        mean = (room / mean.norm(dim=1).clamp_min(tiny)).clamp_max(1)[:, None] * mean
        typical = torch.zeros_like(mean)
        typical[:, 0] = (mean.square().sum(1) + spread).sqrt()
        stretch = transport.back(typical).norm(dim=1, keepdim=True) / typical[:, :1]
        return cls(stretch * mean, log_scale + stretch.log())

    @property
    def scale(self) -> Offsets:
        """Standard deviations."""
        return self.log_scale.exp()

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return self.mean + self.scale * _normal_like(count, self.mean, generator)

    def log_prob(self, points: Draws) -> LogWeights:
        squares = ((points - self.mean) / self.scale).square()
        return -(0.5 * squares + self.log_scale + 0.5 * LOG_2PI).sum(2)


@dataclass(frozen=True)
class Ridge(Proposal):
    r"""A proposal that follows the ridge of the posterior: Laplace's approximation, bent where the generator bends.

    Where the likelihood is sharp, the offsets that explain a changed image lie along a thin curved sheet, which a
    Gaussian at the mode leaves at once. So free directions are drawn first, from a t distribution at the mode, then
    sharp ones from a Gaussian around a Gauss-Newton step. With the curvature :math:`V (I + \Lambda) V^\top` of the
    negative logarithm of the posterior at its mode :math:`y^*`, directions with :math:`\lambda > 1000` count as sharp.
    In these coordinates :math:`a = V^\top(y - y^*)`,

    .. math:: a_\text{free} \sim t_5\big(0, 1.3^2 \operatorname{diag} w_\pm^2\big), \qquad
        a_\text{sharp} \sim \mathcal N\big(c(a_\text{free}), 1.1^2 b(a_\text{free})^2 (1 + \Lambda)^{-1}\big),

    with c the Gauss-Newton step from the point of the free part alone, and b the ratio :math:`\tau(r)/r` at the mode
    over that there: nearer to the surface of the ball T shrinks points more. As both depend on the free part only, the
    density is exact, at the cost of one more decoded image per point. Scales :math:`w_+` and :math:`w_-` differ, as
    near the surface the posterior falls quickly inwards and slowly outwards: each is the largest :math:`\delta /
    \sqrt{2 \Delta(\delta)}` with :math:`\Delta` the fall of the logarithm over a step :math:`\delta` of one to six
    scales of Laplace's approximation. Without sharp directions and deep inside the ball this is that approximation,
    with heavy tails.

    Fields are the mode :math:`y^*`, the basis V, the precision :math:`1 + \Lambda`, ascending, the widths w to either
    side, and the gain :math:`J^\top W`, with J the slopes of the generator at the mode and W the information of pixels.

    References:
        Tierney and Kadane, *Accurate approximations for posterior moments and marginal densities*, 1986 (Laplace's
        method); Chorin and Tu, *Implicit sampling for particle filters*, 2009 (solving for draws near the mode);
        Geweke, *Bayesian inference in econometric models using Monte Carlo integration*, 1989, sec. 4 (the split t
        distribution).
    """

    likelihood: OffsetLikelihood
    transport: Transport
    mode: Tensor
    basis: Tensor
    precision: Tensor
    widths: Tensor
    gain: Gain

    @classmethod
    def at(cls, likelihood: OffsetLikelihood, transport: Transport, offsets: Offsets, lengths: Offsets) -> Ridge:
        """The proposal for the posterior linearised at the likeliest offsets, by secants of given lengths."""
        gain, pulled, curvature = expand(likelihood, offsets, lengths, sides=2)
        posterior = LinearPosterior(transport, in_double(offsets), pulled, curvature)
        mode = posterior.peak()
        _, values, basis = posterior.around(mode)
        # [sides, lengths, directions, pairs]
        lengths = torch.tensor(SPLIT).to(mode)[:, None, None] * values.rsqrt().T
        steps = torch.stack([lengths, -lengths])
        falls = posterior.value(mode) - posterior.value(mode + steps[..., None] * basis.permute(2, 0, 1))
        widths = steps.abs() / (2 * falls.clamp_min(FLATTEST)).sqrt()
        return cls(likelihood, transport, mode, basis, values, widths.amax(1).mT, gain)

    @property
    def _sharp(self) -> Tensor:
        return self.precision > 1 + SHARP

    def _scale(self, inward: Draws) -> Draws:
        """Scales of the directions, on the side of the coordinates."""
        free = WIDER_FREE * self.widths[0].where(inward > 0, self.widths[1])
        return free.where(~self._sharp, WIDER_SHARP * self.precision.rsqrt())

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        normal = _normal_like(count, self.mode, generator)
        squares = _normal_like(count, self.mode.new_empty(len(self.mode), FREEDOM), generator).square()
        spread = squares.mean(2, keepdim=True).sqrt()
        drawn = normal.where(self._sharp, normal / spread)
        scaled = drawn * self._scale(drawn)
        followed, stretch = self._follow(scaled)
        return self._out(scaled * stretch + followed)

    def log_prob(self, points: Draws) -> LogWeights:
        sharp = self._sharp
        inward = self._in(points - self.mode)
        followed, stretch = self._follow(inward)
        scale = stretch * self._scale(inward)
        scaled = (inward - followed) / scale
        squares = scaled.square()
        free = (~sharp).sum(1, dtype=torch.float64)
        tails = (FREEDOM + free) / 2
        student = (
            torch.lgamma(tails)
            - math.lgamma(FREEDOM / 2)
            - free / 2 * math.log(FREEDOM * math.pi)
            - tails * torch.log1p(squares.masked_fill(sharp, 0).sum(2) / FREEDOM)
        )
        gaussian = -0.5 * (squares.masked_fill(~sharp, 0).sum(2) + sharp.sum(1) * LOG_2PI)
        return student + gaussian - scale.log().sum(2)

    def _follow(self, inward: Draws) -> tuple[Draws, Draws]:
        """Centres of the sharp directions given the free ones, and the factors of their scales."""
        sharp = self._sharp
        free = inward.masked_fill(sharp, 0)
        followed, stretch = torch.zeros_like(free), torch.ones_like(free)
        if bool(sharp.any()):
            points = self._out(free)
            offsets = self.transport(points)
            pulled = self.transport.pull(points, self.likelihood.pull(offsets, self.gain))
            followed = -(self._in(pulled + points) / self.precision).masked_fill(~sharp, 0)
            shrunk = _ratio(self.transport(self.mode), self.mode) / _ratio(offsets, points)
            stretch = shrunk.expand_as(free).masked_fill(~sharp, 1)
        return followed, stretch

    def _in(self, vectors: Draws) -> Draws:
        return (vectors[:, :, None] @ self.basis)[:, :, 0]

    def _out(self, inward: Draws) -> Draws:
        return self.mode + (self.basis @ inward[..., None])[..., 0]


def _ratio(offsets: Tensor, points: Tensor) -> Tensor:
    tiny = torch.finfo(points.dtype).tiny
    return (offsets.norm(dim=-1, keepdim=True) / points.norm(dim=-1, keepdim=True).clamp_min(tiny)).clamp_min(tiny)


def _normal_like(count: int, like: Tensor, generator: torch.Generator | None) -> Draws:
    """Standard normal draws, each of the shape of a tensor."""
    return standard_normal((count, *like.shape), generator, dtype=like.dtype).to(like.device)
