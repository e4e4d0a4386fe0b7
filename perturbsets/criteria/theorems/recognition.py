"""What the theorems start from: how far the recognition distribution of a pair reaches, and what it loses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from cvae import DiagonalGaussian
from perturbsets._types import Images, Offsets, PerImage
from perturbsets.sets.latent import LatentRegion


class Loss(NamedTuple):
    r"""What a recognition distribution q loses of the largest log-likelihood c.

    Attributes:
        mean: Estimates of :math:`G = \mathbb E_q[c - \ln p(\tilde x \mid z, x)]`, in nats.
        high: Their upper confidence limits, each for itself.
    """

    mean: PerImage
    high: PerImage


def from_prior(region: LatentRegion, posterior: DiagonalGaussian) -> DiagonalGaussian:
    r"""A distribution of latents as one of offsets, in prior standard deviations.

    .. math:: \Delta = (\mu_q - \mu_p) / \sigma_p, \qquad \rho = \sigma_q / \sigma_p

    In float64, as what follows subtracts nearly equal numbers.
    """
    prior = DiagonalGaussian(region.prior.mean.double(), region.prior.log_scale.double())
    return DiagonalGaussian(prior.offsets(posterior.mean.double()), posterior.log_scale.double() - prior.log_scale)


def squared_norms(offsets: DiagonalGaussian, vectors: Tensor) -> Tensor:
    r"""Squared norms of draws from several distributions, all with the same normal vectors v.

    .. math:: \|\Delta + \rho \odot v\|^2 = \|\Delta\|^2 + 2 \langle \Delta\rho, v \rangle + \langle \rho^2, v^2 \rangle

    Args:
        offsets: Distributions of means Δ and scales ρ.
        vectors: Normal vectors ``[N, Z]`` in float64.

    Returns:
        Squared norms ``[N, B]``.
    """
    linear, square = 2 * offsets.mean * offsets.scale, offsets.scale.square()
    drawn = vectors @ linear.T + vectors.square() @ square.T
    return drawn + offsets.mean.square().sum(1)


def norm_limit(squares: Tensor, outside: float, error: float) -> Tensor:
    """Upper confidence limits of the radii that leave a given share of each distribution outside.

    The order statistic above which fewer draws lie than that share makes likely; infinite where draws are too few.

    Args:
        squares: Squared norms of independent draws ``[N, B]``.
        outside: The share, in (0, 1).
        error: Probability at which a limit may be below the true quantile.

    Returns:
        Radii, in float64.

    References:
        David and Nagaraja, *Order statistics*, 2003, sec. 7.1.
    """
    rank = int(stats.binom.ppf(1 - error, len(squares), 1 - outside)) + 1
    if rank > len(squares):
        return torch.full_like(squares[0], torch.inf)
    return squares.kthvalue(rank, dim=0).values.sqrt()


def loss(
    region: LatentRegion,
    posterior: DiagonalGaussian,
    changed: Images,
    largest: PerImage,
    *,
    draws: int,
    error: float,
    generator: torch.Generator | None,
) -> Loss:
    r"""Draws images from a recognition distribution and averages what they lose.

    .. math:: \bar G + t_{n-1}(1 - \text{error})\, \frac{s}{\sqrt n}

    is Student's upper limit, exact for normal and asymptotic for other losses.

    Args:
        region: The set bound to the clean images.
        posterior: The recognition distributions.
        changed: The changed images.
        largest: Largest log-likelihood c of each, in nats.
        draws: Draws n per pair, at least 2.
        error: Probability at which a limit may be below the true loss.
        generator: For the draws.

    Returns:
        Mean losses and their limits, in float64.
    """
    likelihood, pixels = region.perturbations.model.likelihood, region.perturbations.model.pixels
    total, square = torch.zeros_like(largest), torch.zeros_like(largest)
    for _ in range(draws):
        noise = normal(posterior.mean.shape, generator).to(posterior.mean)
        generated = region.decode(region.prior.offsets(posterior.at(noise)))
        statistic = likelihood.statistic(generated.double(), changed.double())
        lost = largest - likelihood.log_prob(statistic, pixels)
        total, square = total + lost, square + lost.square()
    mean = total / draws
    variance = (square - draws * mean.square()).clamp_min(0) / (draws - 1)
    return Loss(mean, mean + float(stats.t.ppf(1 - error, draws - 1)) * (variance / draws).sqrt())


def normal(shape: tuple[int, ...], generator: torch.Generator | None) -> Offsets:
    """Standard normal draws, on the generator's device."""
    device = "cpu" if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device)
