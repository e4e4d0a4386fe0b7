"""The sufficient likelihood property: are real changes likely under the set's own distribution?"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from augment.double_precision import in_double
from cvae.likelihood import GaussianLikelihood
from perturbsets._types import Flags, LogWeights, PerImage
from perturbsets.criteria.likelihood.importance import (
    LARGEST_K,
    OffsetLikelihood,
    effective_draws,
    log_mean,
    log_weights,
    pareto_k,
)
from perturbsets.criteria.likelihood.mode import Transport, likeliest
from perturbsets.criteria.likelihood.proposals import LONGEST, SHORTEST, Proposal, Recognised, Ridge, StandardNormal
from perturbsets.criteria.pairs import Pairs, batches, check_held_out
from perturbsets.criteria.theorems.bounds import ceiling
from perturbsets.intervals import Interval, ends, mean_interval
from perturbsets.printing import Printed, Result
from perturbsets.sets.latent import LatentBall

TOLERANCE = 0.01  # bits per pixel that a trusted mean may be low by
CONFIDENCE = 0.95  # of the lower bound
SAFE = 0.1  # share of draws from the prior, and from the recognition distribution; the rest follow the ridge
PAIRS, ROOM = 32, 2**24  # pairs at a time; numbers in the slopes of their pixels
STEPS = 12  # of the search for the likeliest offset


@dataclass(frozen=True)
class SufficientResult(Result):
    r"""Likelihood and error per pair, with diagnostics of the importance draws.

    Attributes:
        bits_per_pixel: Estimated log-likelihood :math:`\hat\ell_i` in bits per pixel; higher is better.
        ceiling: Largest log-likelihood that any image has, in bits per pixel.
        approximation_error: Mean squared error per pixel, averaged over draws from the prior in the ball.
        effective_draws: Effective number of importance draws.
        pareto_k: Shape of the tail of the importance weights
            (:func:`~perturbsets.criteria.likelihood.importance.pareto_k`).
        source: Source of each pair.
        measure: Reference measure of the likelihood; results of different measures cannot be compared.
        draws: Draws per pair, n.
        pixels: Pixels times channels of an image, m.
    """

    bits_per_pixel: PerImage
    ceiling: PerImage
    approximation_error: PerImage
    effective_draws: PerImage
    pareto_k: PerImage
    source: Tensor
    measure: str
    draws: int
    pixels: int

    @property
    def sound(self) -> Flags:
        """Pairs whose weights have no heavy tail: k is at most 0.7, or finite with half of the draws effective.

        In the latter case weights are so even that a fit to their tail means nothing.
        """
        even = self.pareto_k.isfinite() & (2 * self.effective_draws >= self.draws)
        return (self.pareto_k <= LARGEST_K) | even

    @property
    def doubt(self) -> float:
        r"""Bits per pixel that the mean may be low by.

        .. math:: \frac{1}{N m \ln 2} \bigg( 2 \sqrt{\sum_\text{sound} v_i} + \sum_\text{sound} \frac{v_i}2
            + \sum_\text{others} \min\big(c_i - \hat\ell_i,\ -\ln(1 - n^{k_i - 1})\big) \bigg),
            \qquad v_i = \frac1{n_{\text{eff}, i}} - \frac1n

        with levels in nats. For sound pairs v is the variance of :math:`\hat\ell_i`, which is low by v/2 on average. Of
        the mean of a Pareto distribution of shape k, the share :math:`n^{k-1}` lies beyond the largest of n draws; from
        :math:`k = 1` on, a pair may lie anywhere up to its ceiling.
        """
        sound, unit = self.sound, math.log(2) * self.pixels
        variance = (1 / self.effective_draws - 1 / self.draws).clamp_min(0)[sound]
        beyond = -torch.log1p(-(self.draws ** (self.pareto_k[~sound] - 1)).clamp_max(1))
        missed = torch.minimum(unit * (self.ceiling - self.bits_per_pixel)[~sound].clamp_min(0), beyond)
        nats = 2 * variance.sum().sqrt() + variance.sum() / 2 + missed.sum()
        return float(nats) / (len(self.source) * unit)

    @property
    def trusted(self) -> bool:
        """Whether the mean is low by at most 0.01 bits per pixel."""
        return self.doubt <= TOLERANCE

    @property
    def at_least(self) -> float:
        r"""Lower bound of the mean over these pairs with confidence 95 %, for any proposals.

        .. math:: \frac1N \sum_i \hat\ell_i - \frac{\ln(1 / 0.05)}{N m \ln 2}

        The mean weights :math:`\hat p_i = e^{\hat\ell_i}` estimate :math:`p_i` without bias and independently, so that
        :math:`\prod_i \hat p_i / p_i` is not negative and 1 on average: by Markov's inequality it exceeds 20 with
        probability 5 % at most.

        References:
            Grosse, Ghahramani and Adams, *Sandwiching the marginal likelihood using bidirectional Monte Carlo*, 2015,
            sec. 2.1 (the bound for one estimate).
        """
        slack = math.log(1 / (1 - CONFIDENCE)) / (len(self.source) * self.pixels * math.log(2))
        return float(self.bits_per_pixel.mean()) - slack

    @property
    def warning(self) -> str:
        """Why the mean is not trusted, and its lower bound; empty if it is trusted."""
        if self.trusted:
            return ""
        heavy = ~self.sound
        cause = (
            f"{heavy.sum()} of {len(heavy)} pairs have weights with a Pareto-k above {LARGEST_K}"
            if bool(heavy.any())
            else f"{self.draws} draws per pair are few"
        )
        return (
            f"A lower bound, not to be trusted as an estimate: {cause}, and the mean may be higher by "
            f"{self.doubt:.2g} bits per pixel (at most {TOLERANCE:g} for an estimate). It is at least "
            f"{self.at_least:.3f} on these pairs, with confidence {CONFIDENCE:.0%}; more draws increase it."
        )

    @property
    def sentence(self) -> str:
        """The mean likelihood, and whether it is to be trusted."""
        mean, low, high = mean_interval(self.bits_per_pixel, self.source)
        between = ends(low, high, "{:.3f}".format, ", ")
        doubt = "" if self.trusted else " (a lower bound: see `warning`)"
        return f"Log-likelihood {mean:.3f} [{between}] bits per pixel of {len(self.source)} pairs{doubt}"

    def summary(self) -> dict[str, Any]:
        """Means with intervals over sources, and whether the likelihood is to be trusted."""
        bits = mean_interval(self.bits_per_pixel, self.source)
        median = float(self.pareto_k.median())
        return {
            "bits_per_pixel": {**bits._asdict(), "at_least": self.at_least, "trusted": self.trusted},
            "measure": self.measure,
            "effective_sample_size": float(self.effective_draws.mean()),
            "median_effective_sample_size": float(self.effective_draws.median()),
            "median_pareto_k": median if math.isfinite(median) else None,
            "heavy_tailed": float((~self.sound).double().mean()),
            "doubt": self.doubt,
            "warning": self.warning,
            "approximation": mean_interval(self.approximation_error, self.source)._asdict(),
        }

    def gain_over(self, other: SufficientResult) -> Interval:
        """Bits per pixel more than another result on the same pairs, with an interval over sources.

        Raises:
            ValueError: If measures or pairs differ, or one result is a lower bound, not to be trusted.
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
        for name, result in {"self": self, "other": other}.items():
            if not result.trusted:
                raise ValueError(
                    f"{name} must be trusted to be compared, got a lower bound that may be low by {result.doubt:.2g} "
                    f"bits per pixel: measure it with more draws, SufficientLikelihood(draws={4 * result.draws}), "
                    "until result.trusted is True"
                )
        return mean_interval(self.bits_per_pixel - other.bits_per_pixel, self.source)


@dataclass(frozen=True)
class SufficientLikelihood(Printed):
    r"""Measures the likelihood of held-out changed images, with the prior conditioned on the ball.

    .. math:: \mathbb E_{x, \tilde x} \ln \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x)
        \approx \mathbb E_{x, \tilde x} \ln \tfrac1n \sum_{i=1}^n
        p(\tilde x \mid T(y_i), x)\, \frac{N_\infty(y_i)}{\sum_j \frac{n_j}{n} r_j(y_i)}

    with :math:`N_\epsilon` the standard normal conditioned on the ball, to which T takes the standard normal
    :math:`N_\infty` (:class:`~perturbsets.criteria.likelihood.mode.Transport`), so that no draw is outside of the ball.
    There are :math:`n_j` draws from each proposal :math:`r_j`: 80 % from a heavy-tailed one that follows the ridge of
    the posterior from its mode (:class:`~perturbsets.criteria.likelihood.proposals.Ridge`), 10 % from the recognition
    distribution and 10 % from the prior, for safety: no weight exceeds :math:`n / n_j` times its likelihood. With more
    latent coordinates than ``ridge`` the last two have half of the draws each: at 128 the search for the mode cost
    several times as much as all draws and raised the estimate by little.

    The mean logarithm bounds the logarithm of the property's level from below, and the estimate is itself low on
    average: by little where the weights are even, by any amount where a single draw carries them. The shape k of their
    tail shows which, per pair. A mean that may be low by more than 0.01 bits per pixel (:attr:`SufficientResult.doubt`)
    is reported as a lower bound. Bernoulli pixels have no density on [0, 1]: the result names its measure.

    Args:
        draws: Draws per pair, n. Below 25 the weights cannot be judged, and the estimate is not trusted.
        ridge: Largest number of latent coordinates at which draws follow the ridge; 0 for never.

    Raises:
        ValueError: If there are no draws or ``ridge`` is negative.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, definition 2;
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016 (the estimate rises with n);
        Wu, Burda, Salakhutdinov and Grosse, *On the quantitative analysis of decoder-based generative models*, 2017
        (recognition networks alone underrate the likelihood).
    """

    draws: int = 128
    _: KW_ONLY
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
        """Estimates the likelihood of each pair, of those neither trained on nor used to choose the radius.

        The radius may be infinite, or 0. The global generator draws if none is given.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them, or the generator returns NaN or infinity in
                the ball.
        """
        check_held_out(perturbations, pairs)
        model = perturbations.model
        unit = math.log(2) * model.pixels
        rows: list[list[Tensor]] = []
        size = max(1, min(PAIRS, ROOM // (model.pixels * model.latent)))
        for clean, changed, source, row in batches(pairs, size=size, device=perturbations.device):
            region = perturbations.at(clean)
            likelihood = OffsetLikelihood(region, changed, row)
            transport = Transport(region.ball.radii(in_double(region.centre()))[:, 0], region.size)
            recognised = Recognised.of(model.recognition(clean, changed), region.prior, transport)
            table, errors = self._weigh(likelihood, transport, recognised, generator)
            heaviness = pareto_k(table).masked_fill(transport.radii == 0, -1.0)  # where all mass is at one point
            highest = ceiling(model.likelihood, changed).log_prob
            levels = [log_mean(table) / unit, highest / unit]
            rows.append([*levels, errors, effective_draws(table), heaviness, source])
        level, most, errors, effective, heaviness, source = (torch.cat(column) for column in zip(*rows, strict=True))
        gaussian = isinstance(model.likelihood, GaussianLikelihood)
        measure = "density of images on [0, 1]" if gaussian else "relative to Bernoulli pixels"
        return SufficientResult(level, most, errors, effective, heaviness, source, measure, self.draws, model.pixels)

    def _weigh(
        self,
        likelihood: OffsetLikelihood,
        transport: Transport,
        recognised: Recognised,
        generator: torch.Generator | None,
    ) -> tuple[LogWeights, PerImage]:
        """Log-weights of all draws, and the mean error of those from the prior in the ball."""
        region = likelihood.region
        prior = StandardNormal(in_double(region.centre()))
        proposals: list[Proposal] = [prior, recognised]
        follows = region.size <= self.ridge
        if follows:
            lengths = recognised.scale.clamp(SHORTEST, LONGEST).to(likelihood.changed.device, region.dtype)
            mode = likeliest(likelihood, region.encode(likelihood.changed), lengths, steps=STEPS)
            proposals.append(Ridge.at(likelihood, transport, mode, lengths))
        counts = self._counts(follows=follows)
        proposals = proposals[: len(counts)]
        points = torch.cat([part.sample(count, generator) for part, count in zip(proposals, counts, strict=True)])
        values, errors = likelihood(transport(points))
        densities = [part.log_prob(points) for part in proposals]
        table = log_weights(values + densities[0], densities, counts)
        # In a ball of radius 0 all points are one offset, of one likelihood.
        return values.where(transport.radii == 0, table), errors[: counts[0]].mean(0)

    def _counts(self, *, follows: bool) -> list[int]:
        """Numbers of draws from the prior, from the recognition distribution and along the ridge."""
        each = max(1, 2 * round(SAFE * self.draws / 2)) if follows else (self.draws + 1) // 2
        second = min(each, self.draws - each)
        counts = (each, second, self.draws - each - second)
        return [count for count in counts if count]
