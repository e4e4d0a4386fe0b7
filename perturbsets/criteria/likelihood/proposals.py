"""Proposals: distributions of offsets, one per pair, from which an integral over the ball can be sampled."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from cvae import DiagonalGaussian
from perturbsets._types import Draws, LogWeights, Offsets
from perturbsets.sets.ball import Ball
from perturbsets.sets.chi import log_chi_cdf

LOG_2PI = math.log(2 * math.pi)


class Proposal(ABC):
    """A distribution of offsets per pair, with its density."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Independent draws in float64."""

    @abstractmethod
    def log_prob(self, offsets: Draws) -> LogWeights:
        """Logarithm of the density at any offsets, in float64."""


@dataclass(frozen=True)
class BallNormal(Proposal):
    r"""The standard normal distribution conditioned on an L2 ball, :math:`N_\epsilon`.

    .. math:: \ln N_\epsilon(u) = -\tfrac12 \|u\|^2 - \tfrac d2 \ln 2\pi - \ln P(\chi_d \le \epsilon),
        \qquad \|u\| \le \epsilon

    At radius 0 all mass is at the centre, and the density is that with respect to a point mass there.

    Args:
        ball: The Euclidean ball; its radius may be infinite.
        centre: Zeros, which give number of pairs, size and device.
    """

    ball: Ball
    centre: torch.Tensor

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        many = self.ball.keep(torch.arange(len(self.centre)).repeat(count))
        drawn = many.normal(self.centre.repeat(count, 1), generator)
        return drawn.double().unflatten(0, (count, len(self.centre)))

    def log_prob(self, offsets: Draws) -> LogWeights:
        size = offsets.shape[2]
        radii = self.ball.radii(self.centre.double())[:, 0]
        inside = torch.from_numpy(log_chi_cdf(radii.cpu().numpy(), size)).to(radii)
        density = -0.5 * offsets.square().sum(2) - 0.5 * size * LOG_2PI - inside.masked_fill(radii == 0, 0)
        norms = offsets.norm(dim=2)
        rounding = 1 + 4 * torch.finfo(self.centre.dtype).eps * math.sqrt(size)
        density = torch.where(radii == 0, 0.0, density)
        return density.masked_fill(norms > radii * rounding, -math.inf)


@dataclass(frozen=True)
class Recognised(Proposal):
    r"""The recognition distribution, in offsets, moved so that its draws fall into a ball.

    .. math:: \mathcal N\big(\min(1, \rho / \|\mu\|)\, \mu,\ \operatorname{diag} \sigma^2\big), \qquad
        \rho^2 = \max(0, \epsilon^2 - \textstyle\sum_j \sigma_j^2)

    The squared norm of a draw is :math:`\|\mu\|^2 + \sum_j \sigma_j^2` on average: with hundreds of coordinates
    hardly any draw around a mean near the ball's surface lies inside, and none would count.

    Args:
        mean: Means, float64.
        log_scale: Logarithms of the standard deviations.
    """

    mean: Offsets
    log_scale: Offsets

    @classmethod
    def of(cls, posterior: DiagonalGaussian, prior: DiagonalGaussian, ball: Ball) -> Recognised:
        """That of a distribution over latents, counted in standard deviations of the prior."""
        mean = prior.offsets(posterior.mean).double()
        log_scale = (posterior.log_scale - prior.log_scale).double()
        room = (ball.radii(mean)[:, 0].square() - (2 * log_scale).exp().sum(1)).clamp_min(0).sqrt()
        share = (room / mean.norm(dim=1).clamp_min(torch.finfo(mean.dtype).tiny)).clamp_max(1)
        return cls(share[:, None] * mean, log_scale)

    @property
    def scale(self) -> Offsets:
        """Standard deviations."""
        return self.log_scale.exp()

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return self.mean + self.scale * normal_draws(count, self.mean, generator)

    def log_prob(self, offsets: Draws) -> LogWeights:
        squares = ((offsets - self.mean) / self.scale).square()
        return -(0.5 * squares + self.log_scale + 0.5 * LOG_2PI).sum(2)


def normal_draws(count: int, like: torch.Tensor, generator: torch.Generator | None) -> Draws:
    """Standard normal draws of the shape of a tensor, several of each."""
    device = "cpu" if generator is None else generator.device
    drawn = torch.randn(count, *like.shape, dtype=like.dtype, generator=generator, device=device)
    return drawn.to(like.device)
