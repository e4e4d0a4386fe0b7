"""Diagonal Gaussian distributions over latents: what a prior and a recognition network return."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from cvae._types import Latents, Parameters, PerImage

LOG_SCALE_RANGE = 7.0  # scales stay within e^±7: neither they nor their inverses overflow in float16


@dataclass(frozen=True)
class DiagonalGaussian:
    r"""A Gaussian with a diagonal covariance, one per image.

    .. math:: p(z) = \prod_j \mathcal N(z_j;\ \mu_j, \sigma_j^2)

    ``torch.distributions`` draws from the global random state only; here the noise is an argument, so
    that a draw can be stored, replayed and shared between processes.

    Args:
        mean: Means :math:`\mu`.
        log_scale: Logarithms of the standard deviations :math:`\ln\sigma` (not of the variances).
    """

    mean: Latents
    log_scale: Latents

    @classmethod
    def from_features(cls, features: Parameters) -> DiagonalGaussian:
        """Reads means and log-scales off the two halves of a network's output.

        The log-scale passes through a scaled ``tanh``, which is the identity near zero and never
        leaves ±7.
        """
        mean, log_scale = features.chunk(2, dim=1)
        return cls(mean, LOG_SCALE_RANGE * (log_scale / LOG_SCALE_RANGE).tanh())

    @property
    def scale(self) -> Tensor:
        """Standard deviations, one per coordinate."""
        return self.log_scale.exp()

    def at(self, offsets: Latents) -> Latents:
        r"""Latents at offsets counted in standard deviations: :math:`z = \mu + \sigma \odot u`."""
        return self.mean + self.scale * offsets

    def offsets(self, latents: Latents) -> Latents:
        r"""Offsets of latents in standard deviations: :math:`u = (z - \mu) / \sigma`."""
        return (latents - self.mean) / self.scale

    def log_prob(self, latents: Latents) -> PerImage:
        """Log-density of latents, summed over coordinates."""
        squares = self.offsets(latents).square()
        return -(0.5 * squares + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(1)

    def kl(self, other: DiagonalGaussian) -> PerImage:
        r"""Kullback-Leibler divergence from this distribution to another, in nats.

        .. math:: \mathrm{KL} = \sum_j \ln\frac{\sigma'_j}{\sigma_j}
            + \frac{\sigma_j^2 + (\mu_j - \mu'_j)^2}{2\sigma_j'^2} - \frac12
        """
        log_ratio = self.log_scale - other.log_scale
        shift = other.offsets(self.mean)
        return (0.5 * ((2 * log_ratio).exp() + shift.square() - 1) - log_ratio).sum(1)
