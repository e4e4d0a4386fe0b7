"""Proven bounds of a set's error and likelihood, measured on held-out pairs."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from augment.double_precision import double_device
from cvae import DiagonalGaussian
from perturbsets._types import PerImage
from perturbsets.criteria.pairs import Pairs, batches, check_held_out
from perturbsets.criteria.theorems.bounds import (
    ceiling,
    error_bound,
    from_prior,
    likelihood_bound,
    loss,
    mean_error_bound,
    norm_limit,
    squared_norms,
    standard_normal,
)
from perturbsets.criteria.theorems.tail import log_outside, outside_bound, paper_outside, paper_radius, radius_needed
from perturbsets.printing import Printed, Result
from perturbsets.rows import one_number
from perturbsets.sets.latent import LatentBall
from perturbsets.share_bounds import share_at_most


class Rung(NamedTuple):
    """Bounds per pair that follow from one bound of the mass outside of the ball.

    Images in [0, 1] differ by at most 1 per pixel: a bound of the error that is not below 1 is vacuous, and so is one
    of the likelihood that such an error would meet.

    Attributes:
        outside: Upper bounds of α, the mass of the recognition distribution outside.
        error: Upper bounds of the nearest member's mean squared error per pixel; infinite where vacuous.
        bits_per_pixel: Lower bounds of the set's log-likelihood in bits per pixel; ``-inf`` where vacuous.
        radius: Radii at which the bound of the mass outside is ``Theorems.outside``.
    """

    outside: PerImage
    error: PerImage
    bits_per_pixel: PerImage
    radius: PerImage


@dataclass(frozen=True)
class TheoremsResult(Result):
    r"""Bounds per pair, from the sharpest to the one with the weakest assumptions.

    Attributes:
        exact: From draws of the recognition distribution.
        lemma: From the divergence alone, for any recognition distribution.
        paper_ratios: From the divergence and the largest ratio of scales, for diagonal Gaussians.
        paper: From the divergence alone, for diagonal Gaussians: the paper's form.
        kl: Divergences K, in nats.
        ratio: Largest ratios of scales :math:`B = \max_j \sigma_{q,j}/\sigma_{p,j}`.
        distortion: Estimates of D, a mean squared error per pixel.
        distortion_high: Their upper confidence bounds.
        averages: Bound of the mean error per pixel from the means of D and K alone; 1 is vacuous.
        radius: Radius of the set, in prior standard deviations.
        outside: The mass outside at the rungs' radii.
        confidence: Level of the bounds.
        source: Source of each pair.
    """

    exact: Rung
    lemma: Rung
    paper_ratios: Rung
    paper: Rung
    kl: PerImage
    ratio: PerImage
    distortion: PerImage
    distortion_high: PerImage
    averages: float
    radius: float
    outside: float
    confidence: float
    source: Tensor

    @property
    def rungs(self) -> dict[str, Rung]:
        """The rungs by name, sharpest first."""
        return {name: getattr(self, name) for name in ("exact", "lemma", "paper_ratios", "paper")}

    @property
    def sentence(self) -> str:
        """What the sharpest rung proves."""
        proven = f"{int(self.exact.error.isfinite().sum())} of {len(self.source)}"
        return f"Error bounds for {proven} pairs in the set of radius {self.radius:.4g} ({self.confidence:.0%})"

    def summary(self) -> dict[str, Any]:
        """Per rung the mean of its bounds that are not vacuous (a confidence bound too), and the number that are."""
        return {
            "radius": self.radius,
            "confidence": self.confidence,
            "pairs": len(self.source),
            "kl": {"mean": float(self.kl.mean()), "max": float(self.kl.max())},
            "ratio": {"mean": float(self.ratio.mean()), "max": float(self.ratio.max())},
            "distortion": {"mean": float(self.distortion.mean()), "high": float(self.distortion_high.mean())},
            "averages": self.averages,
            "outside": self.outside,
            "rungs": {
                name: {
                    "outside": float(rung.outside.mean()),
                    **{key: _proven(getattr(rung, key)) for key in ("radius", "error", "bits_per_pixel")},
                }
                for name, rung in self.rungs.items()
            },
        }

    def compare(self, *, error: PerImage, bits_per_pixel: PerImage) -> dict[str, Any]:
        """Bounds against measurements on the same pairs, where bounds are not vacuous.

        Measured figures are one-sided too: a search finds no error below the least, and estimates of a log-likelihood
        are low on average. Where one is worse than its bound, either the measurement is weak or the bound has failed,
        as is expected on the share of the pairs that :attr:`confidence` leaves (on somewhat more where the losses of
        few draws are skewed).

        Args:
            error: Search errors, as :attr:`NecessaryResult.search`.
            bits_per_pixel: As :attr:`SufficientResult.bits_per_pixel`.

        Returns:
            Per rung and property the means of bound and measurement, and the number of pairs with a worse measurement.

        Raises:
            ValueError: If there is not one number per pair.
        """
        for name, values in {"error": error, "bits_per_pixel": bits_per_pixel}.items():
            if len(values) != len(self.source):
                raise ValueError(
                    f"{name} must hold one figure for each of the {len(self.source)} pairs, got {len(values)}: "
                    "measure both on the same pairs, in the same order"
                )
        return {
            name: {
                "error": _compared(rung.error, error, higher_is_worse=True),
                "bits_per_pixel": _compared(rung.bits_per_pixel, bits_per_pixel, higher_is_worse=False),
            }
            for name, rung in self.rungs.items()
        }


@dataclass(frozen=True)
class Theorems(Printed):
    r"""Computes proven bounds of a latent ball's error and likelihood on held-out pairs.

    With q the recognition distribution of a pair and α its mass outside of the ball,

    .. math:: \min_{\|u\| \le \epsilon} \|g - \tilde x\|^2 \le \frac{D}{1 - \alpha}, \qquad
        \ln \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x)
        \ge c - \frac{G + K - \mathrm{kl}(\alpha \| \beta)}{1 - \alpha}

    where K is the divergence of q from the prior in closed form, G the average loss of q against the largest
    log-likelihood c, and D = κG. Both hold for any bound of α, and there are four: from draws of q, from K by the
    lemma, and the paper's with and without the ratios of scales. ``README.md`` in this folder derives them.

    Half of the error probability goes to each kind of draw. α has the upper limit of Clopper and Pearson, valid for
    all pairs at once (Bonferroni), and so have, by themselves, the radii of the first rung. G has Student's upper limit
    for each pair by itself: asymptotic, and somewhat low for few draws, since G is skewed (a limit without assumptions
    would exceed M / draws for errors of at most M, far above those of good sets). The mean of such limits over pairs is
    a conservative limit of the mean.

    Args:
        draws: Decoded draws per pair, for G.
        tail_draws: Draws of a normal vector, shared by all pairs and not decoded, for α.
        outside: The mass outside, in (0, 1), at which each rung's radius is given.
        confidence: Level of the bounds, in (0, 1).

    Raises:
        ValueError: If there are fewer than two draws of a kind, or a share is outside of (0, 1).

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 3.
    """

    draws: int = 64
    _: KW_ONLY
    tail_draws: int = 16384
    outside: float = 0.5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("draws", "tail_draws"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}: one draw has no spread")
        for name in ("outside", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be in (0, 1), got {getattr(self, name)}")

    @torch.no_grad()
    def __call__(
        self, perturbations: LatentBall, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> TheoremsResult:
        """Computes the bounds, on pairs that were neither trained on nor used to choose the radius.

        The global generator draws if none is given.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them, or the radius or decoded images are not
                finite.
        """
        check_held_out(perturbations, pairs)
        radius, model = one_number(perturbations.radius, "radius"), perturbations.model
        if not math.isfinite(radius):
            raise ValueError(f"the radius of perturbations must be finite, got {radius}: nothing would be outside")
        vectors = standard_normal((self.tail_draws, model.latent), generator)
        vectors = vectors.to(double_device(perturbations.device), torch.float64)
        error = (1 - self.confidence) / 2
        rows: list[list[Tensor]] = []
        for clean, changed, source, _ in batches(pairs, device=perturbations.device):
            region = perturbations.at(clean)
            posterior = model.recognition(clean, changed)
            offsets = from_prior(region, posterior)
            squares = squared_norms(offsets, vectors)
            best = ceiling(model.likelihood, changed)
            lost = loss(region, posterior, changed, best.log_prob, draws=self.draws, error=error, generator=generator)
            standard = DiagonalGaussian(torch.zeros_like(offsets.mean), torch.zeros_like(offsets.mean))
            shares = share_at_most((squares > radius**2).sum(0), len(vectors), error / len(pairs))
            norms = norm_limit(squares, self.outside, error / len(pairs))
            columns = [offsets.kl(standard), offsets.scale.amax(1), shares, norms, *lost, best.log_prob, source]
            rows.append([column.cpu() for column in columns])
        kl, ratio, shares, norms, mean, high, largest, source = (
            torch.cat(column) for column in zip(*rows, strict=True)
        )
        if not bool(high.isfinite().all()):
            raise ValueError("the model must make finite images of the pairs, got NaN or infinity: fit it again")
        size, per_pixel = model.latent, best.squares_per_nat / model.pixels
        log_beta = log_outside(radius, size)

        def rung(outside: Tensor, needed: Tensor) -> Rung:
            error = error_bound(per_pixel * high, outside)
            level = likelihood_bound(high, kl, outside, log_beta, largest)
            level = level.masked_fill(per_pixel * (largest - level) >= 1, -math.inf)
            bits = level / math.log(2) / model.pixels
            return Rung(outside, error.masked_fill(error >= 1, math.inf), bits, needed)

        averages = mean_error_bound(per_pixel * high.mean(), outside_bound(kl.mean(), log_beta), 1.0)
        return TheoremsResult(
            exact=rung(shares, norms),
            lemma=rung(outside_bound(kl, log_beta), radius_needed(kl, self.outside, size)),
            paper_ratios=rung(paper_outside(radius, kl, size, ratio), paper_radius(kl, self.outside, size, ratio)),
            paper=rung(paper_outside(radius, kl, size), paper_radius(kl, self.outside, size)),
            kl=kl,
            ratio=ratio,
            distortion=per_pixel * mean,
            distortion_high=per_pixel * high,
            averages=min(1.0, float(averages)),
            radius=radius,
            outside=self.outside,
            confidence=self.confidence,
            source=source,
        )


def _proven(bounds: Tensor) -> dict[str, Any]:
    """The mean of the finite bounds, and the number of the others."""
    finite = bounds.isfinite()
    mean = {"mean": float(bounds[finite].mean())} if bool(finite.any()) else {}
    return {"vacuous": int((~finite).sum()), **mean}


def _compared(bounds: Tensor, measured: Tensor, *, higher_is_worse: bool) -> dict[str, Any]:
    finite = bounds.isfinite()
    proven, values = bounds[finite], measured.detach().cpu().double()[finite]
    figures: dict[str, Any] = {"pairs": len(proven)}
    if len(proven):
        worse = values > proven if higher_is_worse else values < proven
        figures |= {"proven": float(proven.mean()), "measured": float(values.mean()), "worse": int(worse.sum())}
    return figures
