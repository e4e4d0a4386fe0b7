"""The sufficient likelihood property: are real changes likely under the set's own distribution?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cvae import DiagonalGaussian
from perturbsets._types import Images, Offsets, PerImage
from perturbsets.criteria.held_out import check_held_out
from perturbsets.criteria.pairs import Pairs, batches
from perturbsets.intervals import bootstrap
from perturbsets.sets.chi import log_chi_cdf
from perturbsets.sets.latent import LatentBall, LatentRegion


@dataclass(frozen=True)
class SufficientResult:
    """Likelihood and error per pair.

    Attributes:
        bits_per_pixel: Estimated log-likelihood in bits per pixel of images on [0, 1]; higher is better.
        approximation_error: Mean squared error per pixel, averaged over draws from the prior in the ball.
        effective_draws: Effective number of importance draws.
        source: Source of each pair.
    """

    bits_per_pixel: PerImage
    approximation_error: PerImage
    effective_draws: PerImage
    source: Tensor

    def summary(self) -> dict[str, Any]:
        """Means with intervals over sources."""
        return {
            "bits_per_pixel": bootstrap(self.bits_per_pixel, self.source)._asdict(),
            "effective_sample_size": float(self.effective_draws.mean()),
            "approximation": bootstrap(self.approximation_error, self.source)._asdict(),
        }


@dataclass(frozen=True)
class SufficientLikelihood:
    r"""Measures the likelihood of held-out changed images, with the prior conditioned on the ball.

    .. math:: \mathbb E_{x, \tilde x} \ln \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x)
        \approx \mathbb E_{x, \tilde x} \ln \tfrac1n \sum_{i=1}^n
        p(\tilde x \mid u_i, x)\, \frac{N_\epsilon(u_i)}{\frac12 q(u_i) + \frac12 N_\epsilon(u_i)}

    with :math:`N_\epsilon` the standard normal conditioned on the ball, q the recognition distribution, and
    half of the draws from either, so that no weight can exceed twice its likelihood. The mean logarithm
    bounds the logarithm of the property's level from below, and the estimate is itself low on average.

    Args:
        draws: Draws per pair from either distribution; n is twice that.

    Raises:
        ValueError: If there are no draws.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, definition 2;
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016 (the estimate).
    """

    draws: int = 64

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    @torch.no_grad()
    def __call__(
        self, perturbations: LatentBall, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> SufficientResult:
        """Measures.

        Args:
            perturbations: The set.
            pairs: Pairs that were neither trained on nor used to choose the radius.
            generator: For the draws; the global one if not given.

        Returns:
            Likelihoods and errors per pair.

        Raises:
            ValueError: If there are no pairs, or the set was learned from them.
        """
        check_held_out(perturbations, pairs)
        rows: list[list[Tensor]] = []
        for clean, changed, source in batches(pairs, device=perturbations.device):
            region = perturbations.at(clean)
            posterior = perturbations.model.recognition(clean, changed)
            weights, errors = [], []
            for _ in range(self.draws):
                noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
                encoded = region.prior.offsets(posterior.at(noise))
                drawn = region.ball.normal(region.centre(), generator)
                for offsets in (encoded, drawn):
                    generated = region.decode(offsets)
                    weights.append(_log_weight(region, posterior, offsets, generated, changed))
                errors.append((generated - changed).square().flatten(1).mean(1))
            table = torch.stack(weights)
            level = table.logsumexp(0) - math.log(len(weights))
            effective = 1 / table.softmax(0).square().sum(0)
            bits = level / math.log(2) / perturbations.model.pixels
            rows.append([bits, torch.stack(errors).mean(0), effective, source])
        return SufficientResult(*(torch.cat(column) for column in zip(*rows, strict=True)))


def _log_weight(
    region: LatentRegion, posterior: DiagonalGaussian, offsets: Offsets, generated: Images, changed: Images
) -> Tensor:
    """Logarithm of likelihood times target density over proposal density, in float64."""
    model = region.perturbations.model
    latents = region.prior.at(offsets)
    radii = region.ball.radii(offsets)[:, 0].double()
    inside = torch.from_numpy(log_chi_cdf(radii.cpu().numpy(), model.latent)).to(radii.device)
    target = region.prior.log_prob(latents).double() - inside
    target = target.masked_fill(region.ball.norm(offsets) > radii * (1 + 1e-6), -math.inf)
    ratio = target - torch.logaddexp(posterior.log_prob(latents).double(), target) + math.log(2)
    if bool((radii == 0).any()):  # all mass is at the centre, which only draws of the ball itself hit
        centred = torch.where(region.ball.norm(offsets) == 0, math.log(2), -math.inf)
        ratio = torch.where(radii == 0, centred, ratio)
    likelihood = model.likelihood.log_prob(model.likelihood.statistic(generated, changed), model.pixels)
    return likelihood.double() + ratio
