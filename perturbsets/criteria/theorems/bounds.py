r"""Bounds of the error and of the likelihood of a set, from the mass of the recognition distribution in the ball.

For a pair let c be the largest value of :math:`\ln p(\tilde x \mid z, x)`, and let the *gap* be the average loss of the
recognition distribution q, :math:`G = c - R \ge \mathbb E_q[c - \ln p(\tilde x \mid z, x)]`. The bounds take α, any
upper bound of :math:`q(\|u\| > \epsilon)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from augment.double_precision import in_double
from cvae import BernoulliLikelihood, DiagonalGaussian, GaussianLikelihood
from perturbsets._types import Images, PerImage
from perturbsets.criteria.theorems.tail import Number, divergence, in_float64
from perturbsets.sets.latent import LatentRegion


def from_prior(region: LatentRegion, posterior: DiagonalGaussian) -> DiagonalGaussian:
    r"""A distribution of latents as one of offsets, in prior standard deviations; in float64, against cancellation.

    .. math:: \Delta = (\mu_q - \mu_p) / \sigma_p, \qquad \rho = \sigma_q / \sigma_p
    """
    prior, posterior = (
        DiagonalGaussian(in_double(given.mean), in_double(given.log_scale)) for given in (region.prior, posterior)
    )
    return DiagonalGaussian(prior.offsets(posterior.mean), posterior.log_scale - prior.log_scale)


def squared_norms(offsets: DiagonalGaussian, vectors: Tensor) -> Tensor:
    r"""Squared norms of draws from several distributions, all with the same normal vectors v.

    .. math:: \|\Delta + \rho \odot v\|^2 = \|\Delta\|^2 + 2 \langle \Delta\rho, v \rangle + \langle \rho^2, v^2 \rangle

    with means Δ and scales ρ; the result is ``[N, B]`` for vectors ``[N, Z]``.
    """
    linear, square = 2 * offsets.mean * offsets.scale, offsets.scale.square()
    return vectors @ linear.T + vectors.square() @ square.T + offsets.mean.square().sum(1)


def norm_limit(squares: Tensor, outside: float, error: float) -> Tensor:
    """Upper confidence limits of the radii that leave a given share of each distribution outside.

    Order statistics of squared norms of independent draws ``[N, B]``; infinite where there are too few draws. A limit
    may be below the true quantile with the probability ``error``.

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
) -> tuple[PerImage, PerImage]:
    r"""Average loss of images drawn from a recognition distribution, in nats, and Student's upper limit of each.

    .. math:: \bar G + t_{n-1}(1 - \text{error})\, \frac{s}{\sqrt n}

    The limit is exact for normal and asymptotic for other losses. The largest log-likelihoods c are in nats, and
    there are n draws per pair, 2 or more.
    """
    likelihood, pixels = region.perturbations.model.likelihood, region.perturbations.model.pixels
    total, square = torch.zeros_like(largest), torch.zeros_like(largest)
    for _ in range(draws):
        noise = standard_normal(posterior.mean.shape, generator).to(posterior.mean)
        generated = region.decode(region.prior.offsets(posterior.at(noise)))
        statistic = likelihood.statistic(in_double(generated), in_double(changed))
        lost = largest - likelihood.log_prob(statistic, pixels)
        total, square = total + lost, square + lost.square()
    mean = total / draws
    variance = (square - draws * mean.square()).clamp_min(0) / (draws - 1)
    return mean, mean + float(stats.t.ppf(1 - error, draws - 1)) * (variance / draws).sqrt()


def standard_normal(
    shape: tuple[int, ...], generator: torch.Generator | None, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Standard normal draws on the generator's device, or on the CPU from the global generator."""
    device = "cpu" if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=dtype)


class Ceiling(NamedTuple):
    r"""The largest log-likelihood that a generator can reach.

    Attributes:
        log_prob: The largest log-likelihood c of each image, in nats.
        squares_per_nat: κ with :math:`\|g - \tilde x\|^2 \le \kappa\,(c - \ln p(\tilde x \mid g))` for g in [0, 1].
    """

    log_prob: Tensor
    squares_per_nat: float


def ceiling(likelihood: GaussianLikelihood | BernoulliLikelihood, changed: Images) -> Ceiling:
    r"""The largest log-likelihood of images, and the squared error per nat below it.

    For Gaussian pixels of scale s, :math:`c = -\tfrac m2 \ln 2\pi s^2` and :math:`\kappa = 2s^2`, with equality. For
    Bernoulli pixels c is minus the summed entropy of the pixels, the loss is a sum of binary divergences, and
    :math:`\mathrm{kl}(a \| b) \ge 2 (a - b)^2` gives :math:`\kappa = \tfrac12`.

    References:
        Cover and Thomas, *Elements of information theory*, 2006, lemma 11.6.1 (Pinsker's inequality).
    """
    exact = in_double(changed)
    # No image explains x̃ better than x̃ itself does.
    best = likelihood.log_prob(likelihood.statistic(exact, exact), exact[0].numel() if len(exact) else 0)
    return Ceiling(best, 2 * float(likelihood.scale) ** 2 if isinstance(likelihood, GaussianLikelihood) else 0.5)


def error_bound(distortion: Number, alpha: Number) -> Tensor:
    r"""Upper bound of the error of the nearest member, for each pair.

    .. math:: \min_{\|u\| \le \epsilon} \|g(x, u) - \tilde x\|^2
        \le \mathbb E_q\big[\|g - \tilde x\|^2 \,\big|\, \|u\| \le \epsilon\big] \le \frac{D}{1 - \alpha}

    since no error is negative, with :math:`D = \kappa G \ge \mathbb E_q\|g - \tilde x\|^2`, summed or averaged over
    pixels, and α an upper bound of the mass outside; infinite where α is 1.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 3.
    """
    alpha = in_float64(alpha)
    return torch.where(alpha < 1, in_float64(distortion) / (1 - alpha), torch.inf)


def mean_error_bound(distortion: Number, alpha: Number, largest: Number) -> Tensor:
    r"""Upper bound of the mean error from averages over pairs alone, where no error exceeds M.

    .. math:: \mathbb E \min_{\|u\| \le \epsilon} \|g(x, u) - \tilde x\|^2 \le \bar D + M \bar\alpha

    For one pair :math:`e = \min \|g - \tilde x\|^2` has :math:`(1 - \alpha) e \le D`, thus :math:`e \le D + \alpha e
    \le D + \alpha M`, which is linear in both. The lemma is concave in K, so its value at the mean of K is an
    :math:`\bar\alpha`. Pairs with :math:`\alpha = 1` and others with :math:`\alpha = 0` reach the bound: without an M
    averages prove nothing. For images in [0, 1] it is 1 per pixel.
    """
    return distortion + largest * in_float64(alpha)


def likelihood_bound(gap: Number, kl: Number, alpha: Number, log_beta: Number, largest: Number) -> Tensor:
    r"""Lower bound of the log-likelihood of the changed image, for each pair.

    .. math:: \ln \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x)
        \ge \frac{R - K - \alpha c + \mathrm{kl}(\alpha \| \beta)}{1 - \alpha}
        = c - \frac{G + K - \mathrm{kl}(\alpha \| \beta)}{1 - \alpha}

    at α = q(‖u‖ > ε). Over :math:`[0, 1)` the right side falls until :math:`\alpha = \beta e^{G + K}` and rises from
    there, so where only a bound of α is known the lesser of the two is taken. It tends to the evidence lower bound
    :math:`R - K` as the ball grows.
    All are in nats; ``-inf`` where nothing is proven.
    """
    gap, kl = in_float64(gap), in_float64(kl)
    worst = torch.minimum(in_float64(alpha), (log_beta + gap + kl).clamp_max(0).exp())
    inside = largest - (gap + kl - divergence(worst, log_beta)) / (1 - worst)
    return torch.where(worst < 1, inside, -torch.inf)
