"""Proposals: distributions of points, one per pair, from which an integral over the ball can be sampled.

:class:`~perturbsets.criteria.likelihood.transport.Transport` takes all points into the ball, so that every proposal has
all of its mass inside.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from cvae import DiagonalGaussian
from perturbsets._types import Draws, LogWeights, Offsets
from perturbsets.criteria.likelihood.transport import Transport

LOG_2PI = math.log(2 * math.pi)


class Proposal(ABC):
    """A distribution of points per pair, with its density."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        """Independent draws in float64."""

    @abstractmethod
    def log_prob(self, points: Draws) -> LogWeights:
        """Logarithm of the density at any points, in float64."""


@dataclass(frozen=True)
class StandardNormal(Proposal):
    r"""The standard normal distribution of points, which is :math:`N_\epsilon` of offsets.

    Args:
        centre: Zeros, which give number of pairs, size and device, float64.
    """

    centre: Offsets

    def sample(self, count: int, generator: torch.Generator | None = None) -> Draws:
        return normal_draws(count, self.centre, generator)

    def log_prob(self, points: Draws) -> LogWeights:
        return -0.5 * (points.square() + LOG_2PI).sum(2)


@dataclass(frozen=True)
class Recognised(Proposal):
    r"""The recognition distribution of offsets, moved towards the ball and stretched to points.

    .. math:: y \sim \tfrac{\tau^{-1}(\rho)}{\rho}\, \mathcal N(\mu', \operatorname{diag} \sigma^2), \qquad
        \|\mu'\|^2 = \min\big(\|\mu\|^2,\ \max(0, \epsilon^2 - \textstyle\sum_j \sigma_j^2)\big), \qquad
        \rho^2 = \|\mu'\|^2 + \textstyle\sum_j \sigma_j^2

    with :math:`\mu'` in the direction of :math:`\mu`. The squared norm of an offset is :math:`\rho^2` on average: with
    hundreds of coordinates that is where all draws are.

    Args:
        mean: Means, float64.
        log_scale: Logarithms of the standard deviations.
    """

    mean: Offsets
    log_scale: Offsets

    @classmethod
    def of(cls, posterior: DiagonalGaussian, prior: DiagonalGaussian, transport: Transport) -> Recognised:
        """That of a distribution over latents, counted in standard deviations of the prior."""
        mean = prior.offsets(posterior.mean).double()
        log_scale = (posterior.log_scale - prior.log_scale).double()
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
        return self.mean + self.scale * normal_draws(count, self.mean, generator)

    def log_prob(self, points: Draws) -> LogWeights:
        squares = ((points - self.mean) / self.scale).square()
        return -(0.5 * squares + self.log_scale + 0.5 * LOG_2PI).sum(2)


def normal_draws(count: int, like: torch.Tensor, generator: torch.Generator | None) -> Draws:
    """Standard normal draws of the shape of a tensor, several of each."""
    device = "cpu" if generator is None else generator.device
    drawn = torch.randn(count, *like.shape, dtype=like.dtype, generator=generator, device=device)
    return drawn.to(like.device)
