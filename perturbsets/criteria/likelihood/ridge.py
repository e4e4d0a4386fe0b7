r"""A proposal that follows the ridge of a posterior: Laplace's, bent where the generator bends.

Where the likelihood is sharp, the offsets that explain a changed image lie along a thin curved sheet: some directions
are known to a thousandth, others hardly at all, and the best value of the former changes with the latter. A Gaussian at
the mode leaves the sheet at once. This proposal draws the free directions first and then lets a Gauss-Newton step say
where the sharp ones are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from perturbsets._types import Draws, LogWeights, Offsets, PerImage
from perturbsets.criteria.likelihood.offset_likelihood import OffsetLikelihood
from perturbsets.criteria.likelihood.proposals import LOG_2PI, Proposal, normal_draws

SHORTEST, LONGEST = 1e-3, 0.3  # secants, in prior standard deviations
SHARP = 1000.0  # precision that pixels add to the prior's 1, from which a direction is a sharp one
FREEDOM = 5  # degrees of the t distribution of the free directions
WIDER_FREE, WIDER_SHARP = 1.3, 1.1  # than the curvature at the mode tells, against heavy tails of the weights
ENOUGH = 0.1  # nats; a search that gains less in a step is over
DAMPING, QUICKER, HOPELESS = 1e-3, 10.0, 1e6


def likeliest(likelihood: OffsetLikelihood, start: Offsets, lengths: Offsets, *, steps: int) -> Offsets:
    r"""The offset in the ball where :math:`\ln p(\tilde x \mid u, x) - \frac12 \|u\|^2` is highest, by damped steps.

    Args:
        likelihood: The likelihood of the pairs.
        start: First offsets; projected onto the ball.
        lengths: Lengths of the secants.
        steps: Largest number of steps, each with as many generated images as there are coordinates, and two.

    Returns:
        The best offsets found, each at least as good as the start.

    References:
        Nocedal and Wright, *Numerical optimization*, 2006, sec. 10.3 (Levenberg-Marquardt).
    """
    best = likelihood.region.project(start)
    value = _joint(likelihood, best)
    damping = torch.full_like(value, DAMPING)
    rows = torch.arange(len(best), device=best.device)
    for _ in range(steps):
        part, here = likelihood.keep(rows), best[rows]
        slopes = part.secants(here, lengths[rows], sides=1)
        weighted = slopes.mT * part.information(here)[:, None]
        gradient = part.pull(here[None], weighted)[0] + here
        curvature = (weighted @ slopes).double() + torch.eye(here.shape[1], dtype=torch.float64, device=here.device)
        damped = curvature + torch.diag_embed(damping[rows, None] * curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, gradient).to(here)
        trial = part.region.project(here - step)
        gain = _joint(part, trial) - value[rows]
        better = gain > 0
        best[rows] = trial.where(better[:, None], here)
        value[rows] += gain.clamp_min(0)
        damping[rows] *= torch.where(better, 1 / QUICKER, QUICKER)
        over = (better & (gain < ENOUGH)) | (damping[rows] > HOPELESS)
        rows = rows[~over]
        if not len(rows):
            break
    return best


def _joint(likelihood: OffsetLikelihood, offsets: Offsets) -> PerImage:
    return likelihood(offsets[None])[0][0] - 0.5 * offsets.double().square().sum(1)


@dataclass(frozen=True)
class Ridge(Proposal):
    r"""Free directions from a t distribution at the mode, sharp ones from a Gaussian around where those lead.

    With the slopes J of the generator at the mode :math:`u^*`, the information W of the pixels and
    :math:`J^\top W J = V \Lambda V^\top`, directions with :math:`\lambda > 1000` count as sharp. In these
    coordinates :math:`a = V^\top(u - u^*)`,

    .. math:: a_\text{free} \sim t_5\big(0, 1.3^2 (1 + \Lambda)^{-1}\big), \qquad
        a_\text{sharp} \sim \mathcal N\big(c(a_\text{free}), 1.1^2 (1 + \Lambda)^{-1}\big),

    with c the Gauss-Newton step from where the free part alone has led. As c depends on the free part only, the
    density is exact, and costs one more generated image at each offset. Without sharp directions this is Laplace's
    approximation with heavy tails.

    Args:
        likelihood: The likelihood of the pairs.
        mode: The offsets :math:`u^*`.
        basis: V.
        precision: :math:`1 + \Lambda`, ascending.
        gain: :math:`V^\top J^\top W`.

    References:
        Tierney and Kadane, *Accurate approximations for posterior moments and marginal densities*, 1986 (Laplace's
        method); Chorin and Tu, *Implicit sampling for particle filters*, 2009 (solving for draws near the mode).
    """

    likelihood: OffsetLikelihood
    mode: Tensor
    basis: Tensor
    precision: Tensor
    gain: Tensor

    @classmethod
    def at(cls, likelihood: OffsetLikelihood, mode: Offsets, lengths: Offsets) -> Ridge:
        """The proposal around given offsets."""
        slopes = likelihood.secants(mode, lengths)
        weighted = slopes.mT * likelihood.information(mode)[:, None]
        values, basis = torch.linalg.eigh((weighted @ slopes).double())
        return cls(likelihood, mode.double(), basis, 1 + values.clamp_min(0), basis.mT.to(weighted) @ weighted)

    @property
    def _sharp(self) -> Tensor:
        return self.precision > 1 + SHARP

    @property
    def _scale(self) -> Tensor:
        curved = self.precision.rsqrt()
        return torch.where(self._sharp, WIDER_SHARP * curved, WIDER_FREE * curved)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        normal = normal_draws(count, self.mode, generator)
        squares = normal_draws(count, self.mode.new_empty(len(self.mode), FREEDOM), generator).square()
        spread = squares.mean(2, keepdim=True).sqrt()
        scaled = normal.where(self._sharp, normal / spread) * self._scale
        return self._out(scaled + self._follow(scaled))

    def log_prob(self, offsets: Draws) -> LogWeights:
        sharp = self._sharp
        inward = self._in(offsets - self.mode)
        scaled = (inward - self._follow(inward)) / self._scale
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
        return student + gaussian - self._scale.log().sum(1)

    def _follow(self, inward: Draws) -> Draws:
        """Where the sharp directions go, given the free ones."""
        sharp = self._sharp
        free = inward.masked_fill(sharp, 0)
        followed = torch.zeros_like(free)
        if bool(sharp.any()):
            offsets = self._out(free)
            gradient = self.likelihood.pull(offsets, self.gain) + self._in(offsets)
            followed = -(gradient / self.precision).masked_fill(~sharp, 0)
        return followed

    def _in(self, vectors: Draws) -> Draws:
        return (vectors[:, :, None] @ self.basis)[:, :, 0]

    def _out(self, inward: Draws) -> Draws:
        return self.mode + (self.basis @ inward[..., None])[..., 0]
