"""The sufficient likelihood property: are real changes likely under the set's own distribution?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cvae.likelihood import GaussianLikelihood
from perturbsets._types import Flags, LogWeights, PerImage
from perturbsets.criteria.held_out import check_held_out
from perturbsets.criteria.likelihood.importance import LARGEST_K, effective_draws, log_mean, log_weights, pareto_k
from perturbsets.criteria.likelihood.offset_likelihood import OffsetLikelihood
from perturbsets.criteria.likelihood.proposals import BallNormal, Proposal, Recognised
from perturbsets.criteria.likelihood.ridge import LONGEST, SHORTEST, Ridge, likeliest
from perturbsets.criteria.pairs import Pairs, batches
from perturbsets.intervals import Interval, mean_interval
from perturbsets.sets.latent import LatentBall, LatentRegion

MOST_HEAVY = 0.2  # share of pairs whose weights may have a heavy tail in an estimate to be trusted
MOST_GAIN = 0.25  # of the interval's width, that twice the draws may add
SAFE = 0.1  # share of draws from the recognition distribution, and from the prior, beside those along the ridge
PAIRS, ROOM = 32, 2**24  # pairs at a time; numbers in the slopes of their pixels
STEPS = 12  # of the search for the likeliest offset


@dataclass(frozen=True)
class SufficientResult:
    """Likelihood and error per pair.

    Attributes:
        bits_per_pixel: Estimated log-likelihood in bits per pixel; higher is better.
        half_bits_per_pixel: The same from half of the draws, averaged over both halves.
        approximation_error: Mean squared error per pixel, averaged over draws from the prior in the ball.
        effective_draws: Effective number of importance draws.
        pareto_k: Shape of the tail of the importance weights
            (:func:`~perturbsets.criteria.likelihood.importance.pareto_k`): below 0.5 good, up to 0.7 usable, above not
            to be trusted.
        source: Source of each pair.
        measure: What the likelihood is relative to; figures of different measures cannot be compared.
    """

    bits_per_pixel: PerImage
    half_bits_per_pixel: PerImage
    approximation_error: PerImage
    effective_draws: PerImage
    pareto_k: PerImage
    source: Tensor
    measure: str

    def summary(self) -> dict[str, Any]:
        r"""Means with intervals over sources, and whether the estimate is to be trusted.

        ``trusted`` is true where at most a fifth of the pairs have :math:`k > 0.7` and the second half of the draws
        raised the mean by at most a quarter of its interval's width; otherwise ``warning`` says what is wrong. The mean
        logarithm of an estimate rises with the draws towards the truth, so that one not to be trusted is too low.
        """
        bits = mean_interval(self.bits_per_pixel, self.source)
        heavy = float((self.pareto_k > LARGEST_K).double().mean())
        gain = float((self.bits_per_pixel - self.half_bits_per_pixel).mean())
        faults = []
        if heavy > MOST_HEAVY:
            faults.append(f"{heavy:.0%} of the pairs have a Pareto-k above {LARGEST_K} (at most {MOST_HEAVY:.0%} may)")
        width = 0.0 if bits.low is None or bits.high is None else bits.high - bits.low
        if gain > MOST_GAIN * width and gain > torch.finfo(torch.float32).eps * abs(bits.mean):
            faults.append(f"twice the draws still add {gain:.2g} bits per pixel")
        median = float(self.pareto_k.median())
        return {
            "bits_per_pixel": bits._asdict(),
            "measure": self.measure,
            "effective_sample_size": float(self.effective_draws.mean()),
            "median_effective_sample_size": float(self.effective_draws.median()),
            "median_pareto_k": median if math.isfinite(median) else None,
            "heavy_tailed": heavy,
            "doubling_gain": gain,
            "trusted": not faults,
            "warning": f"Not to be trusted, likely too low: {' and '.join(faults)}." if faults else "",
            "approximation": mean_interval(self.approximation_error, self.source)._asdict(),
        }

    def gain_over(self, other: SufficientResult) -> Interval:
        """How many bits per pixel more than another result on the same pairs, with an interval over sources.

        Raises:
            ValueError: If the two are of different measures or different pairs.
        """
        if self.measure != other.measure:
            raise ValueError(
                f"other must have the measure {self.measure!r} to be compared, got {other.measure!r}: their bits per "
                "pixel are relative to different things; fit both models with one likelihood"
            )
        if not torch.equal(self.source, other.source):
            raise ValueError(
                f"other must be measured on the same {len(self.source)} pairs, got {len(other.source)} pairs of other "
                "sources: measure both sets on one split"
            )
        return mean_interval(self.bits_per_pixel - other.bits_per_pixel, self.source)


@dataclass(frozen=True)
class SufficientLikelihood:
    r"""Measures the likelihood of held-out changed images, with the prior conditioned on the ball.

    .. math:: \mathbb E_{x, \tilde x} \ln \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x)
        \approx \mathbb E_{x, \tilde x} \ln \tfrac1n \sum_{i=1}^n
        p(\tilde x \mid u_i, x)\, \frac{N_\epsilon(u_i)}{\sum_j \frac{n_j}{n} r_j(u_i)}

    with :math:`N_\epsilon` the standard normal conditioned on the ball and :math:`n_j` draws from each proposal
    :math:`r_j`: eight tenths from a heavy-tailed one that follows the ridge of the posterior from its mode
    (:class:`~perturbsets.criteria.likelihood.ridge.Ridge`), one tenth from the recognition distribution, one from
    :math:`N_\epsilon` itself, for safety: no weight exceeds :math:`n / n_j` times its likelihood. With more latent
    coordinates than ``ridge`` half of the draws are from either of the last two: at 128 the search for the mode cost
    several times as much as all draws and raised the estimate by little.

    The mean logarithm bounds the logarithm of the property's level from below, and the estimate is itself low on
    average: by little where the weights are even, by any amount where a single draw carries them. The shape k of their
    tail tells which, per pair; the summary says whether the whole is to be trusted. Bernoulli pixels are no density
    on [0, 1]: the result names its measure, and refuses to be compared across measures.

    Args:
        draws: Draws per pair, n. Below 25 nothing can be said about their weights, and the estimate counts as not to
            be trusted.
        ridge: Largest number of latent coordinates at which draws follow the ridge; 0 for never.

    Raises:
        ValueError: If there are no draws or ``ridge`` is negative.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, definition 2;
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016 (the estimate rises with n);
        Wu, Burda, Salakhutdinov and Grosse, *On the quantitative analysis of decoder-based generative models*, 2017
        (recognition networks alone underrate the likelihood).

    Example:
        >>> from cvae import SpatialCVAE
        >>> class Still:  # pairs in which nothing changed
        ...     def __len__(self): return 3
        ...     def batch(self, rows): return (*torch.zeros(2, len(rows), 1, 8, 8), rows, rows)
        >>> perturbations = LatentBall(SpatialCVAE(height=8, width=8, latent=2), radius=2.0)
        >>> result = SufficientLikelihood(draws=40)(perturbations, Still())
        >>> result.summary()["measure"]
        'density of images on [0, 1]'
    """

    draws: int = 128
    ridge: int = 32

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if self.ridge < 0:
            raise ValueError(f"ridge must be 0 (never) or a number of latent coordinates, got {self.ridge}")

    @torch.no_grad()
    def __call__(
        self, perturbations: LatentBall, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> SufficientResult:
        """Measures.

        Args:
            perturbations: The set; its radius may be infinite, or 0.
            pairs: Pairs that were neither trained on nor used to choose the radius.
            generator: For the draws; the global one if not given.

        Returns:
            Likelihoods and errors per pair.

        Raises:
            ValueError: If there are no pairs, the set was learned from them, or the generator returns NaN or infinity
                inside the ball.
        """
        check_held_out(perturbations, pairs)
        model = perturbations.model
        unit = math.log(2) * model.pixels
        rows: list[list[Tensor]] = []
        size = max(1, min(PAIRS, ROOM // (model.pixels * model.latent)))
        first = 0
        for clean, changed, source in batches(pairs, size, device=perturbations.device):
            region = perturbations.at(clean)
            likelihood = OffsetLikelihood(region, changed, torch.arange(first, first + len(clean)))
            first += len(clean)
            recognised = Recognised.of(model.recognition(clean, changed), region.prior, region.ball)
            table, errors, half = self._weigh(likelihood, recognised, generator)
            fixed = _fixed(region)
            heaviness = pareto_k(table).masked_fill(fixed, -1.0)
            level = log_mean(table)
            rows.append(
                [level / unit, half.where(~fixed, level) / unit, errors, effective_draws(table), heaviness, source]
            )
        level, half, errors, effective, heaviness, source = (torch.cat(column) for column in zip(*rows, strict=True))
        return SufficientResult(level, half, errors, effective, heaviness, source, _measure(perturbations))

    def _weigh(
        self, likelihood: OffsetLikelihood, recognised: Recognised, generator: torch.Generator | None
    ) -> tuple[LogWeights, PerImage, Tensor]:
        """Log-weights of all draws, the error of those from the ball, and the mean level of two halves of the draws."""
        region = likelihood.region
        conditioned = BallNormal(region.ball, region.centre())
        proposals: list[Proposal] = [conditioned, recognised]
        follows = region.size <= self.ridge
        if follows:
            lengths = recognised.scale.clamp(SHORTEST, LONGEST).to(region.dtype)
            mode = likeliest(likelihood, region.encode(likelihood.changed), lengths, steps=STEPS)
            proposals.append(Ridge.at(likelihood, mode, lengths))
        counts = self._counts(follows=follows)
        proposals = proposals[: len(counts)]
        offsets = torch.cat([part.sample(count, generator) for part, count in zip(proposals, counts, strict=True)])
        target = conditioned.log_prob(offsets)
        inside = region.ball.project(offsets.flatten(0, 1)).view_as(offsets)
        values, errors = likelihood(inside)
        none = torch.where(_fixed(region), -math.inf, 0.0)  # beside a point mass
        densities = [target, *(part.log_prob(offsets) + none for part in proposals[1:])]
        table = log_weights(values + target, densities, counts)
        places = torch.cat([torch.arange(count) for count in counts]).to(table.device)
        halves = [log_mean(table[places % 2 == parity] if min(counts) > 1 else table) for parity in (0, 1)]
        return table, errors[: counts[0]].mean(0), torch.stack(halves).mean(0)

    def _counts(self, *, follows: bool) -> list[int]:
        """Draws from the ball, from the recognition distribution and along the ridge, as far as there are enough."""
        each = max(1, 2 * round(SAFE * self.draws / 2)) if follows else (self.draws + 1) // 2
        left, counts = self.draws, []
        for most in (each, each, self.draws):
            counts.append(min(most, left))
            left -= counts[-1]
        return [count for count in counts if count]


def _fixed(region: LatentRegion) -> Flags:
    """Pairs whose ball is a point: all mass is there, and nothing to estimate."""
    return region.ball.radii(region.centre())[:, 0] == 0


def _measure(perturbations: LatentBall) -> str:
    gaussian = isinstance(perturbations.model.likelihood, GaussianLikelihood)
    return "density of images on [0, 1]" if gaussian else "relative to Bernoulli pixels"
