"""Radius certificates: the radius at which a share of future pairs lies within a tolerance of the set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Images, PerImage
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import ProjectedLBFGS
from perturbsets.certificates.covering import (
    Covering,
    at_most,
    check_enough,
    check_two,
    checked_values,
    confidence,
    draw_pairs,
    one_per_source,
    tolerance_limit,
    within_tolerance,
)
from perturbsets.criteria.extremes import squared_difference
from perturbsets.criteria.pairs import Pairs, batches, check_held_out, joined
from perturbsets.objectives import ApproximationError
from perturbsets.printing import Printed, Result
from perturbsets.sets import LatentBall


@dataclass(frozen=True)
class RadiusCertificate(Result):
    """With confidence 1 − α, this radius suffices for a share p of future pairs to lie within tolerance.

    Attributes:
        radii: Radius that one random pair of each source needs, in float64; infinite where none was found.
        source: Number of each source.
        covering: The radius (its ``limit``; infinite where none can be certified), share and α.
        tolerance: The tolerance τ.
        relative: Whether τ is a share of the pair's own squared change, or else a mean squared error per pixel.
    """

    radii: PerImage
    source: Tensor
    covering: Covering
    tolerance: float
    relative: bool

    @property
    def radius(self) -> float:
        """The certified radius, in prior standard deviations; infinite where there is none."""
        return self.covering.limit

    @property
    def sentence(self) -> str:
        """The certificate in words; the radius is rounded up."""
        covering, count, share = self.covering, self.covering.count, f"{100 * self.covering.share:.10g} %"
        near = f"a member {within_tolerance(self.tolerance, relative=self.relative)}"
        if math.isinf(self.radius):
            return (
                f"No radius is certified: only {int(self.radii.isfinite().sum())} of {count} held-out sources, one "
                f"random pair each, have {near} at any radius that was searched, and {covering.rank} would have to for "
                f"{share} of pairs drawn like these with confidence {confidence(covering.alpha)}."
            )
        return (
            f"With confidence {confidence(covering.alpha)}, a radius of {at_most(self.radius)} prior standard "
            f"deviations suffices for at least {share} of pairs drawn like these to have {near}: it does for "
            f"{int((self.radii <= self.radius).sum())} of {count} held-out sources, one random pair each."
        )

    def __str__(self) -> str:
        return self.sentence

    def summary(self) -> dict[str, Any]:
        """The certificate as plain values; a radius that cannot be certified is ``None``."""
        return {
            "radius": self.radius if math.isfinite(self.radius) else None,
            "tolerance": self.tolerance,
            "relative": self.relative,
            "share": self.covering.share,
            "alpha": self.covering.alpha,
            "sources": self.covering.count,
            "within": int((self.radii <= self.radius).sum()) if math.isfinite(self.radius) else 0,
            "out_of_reach": int(self.radii.isinf().sum()),
            "sentence": self.sentence,
        }


def covering_radius(
    radii: PerImage,
    sources: Tensor,
    *,
    tolerance: float,
    share: float,
    alpha: float,
    relative: bool = False,
    generator: torch.Generator | None = None,
) -> RadiusCertificate:
    """Certifies a radius from those that held-out pairs need; one random pair of each source counts.

    Args:
        radii: Radius at which each pair comes within the tolerance; any upper bound of the least one is valid. NaN and
            infinity mean that no radius does.
        sources: Number of each pair's source, image or scene.
        tolerance: The tolerance τ that the radii were searched for.
        share: Share p of future pairs, in (0, 1).
        alpha: Chance of error α, in (0, 1).
        relative: Whether the tolerance is a share of the pair's own squared change.
        generator: For the draw of one pair per source; the global one if not given.

    Raises:
        ValueError: If a number is out of range, a radius is negative, lengths differ, or there are too few sources;
            the message says how many are needed.
    """
    _check(tolerance, share, alpha)
    values = checked_values(radii, sources, "radii")
    rows = one_per_source(sources, generator=generator)
    covering = tolerance_limit(values[rows], share=share, alpha=alpha)
    return RadiusCertificate(values[rows], sources.cpu()[rows], covering, tolerance, relative)


@torch.no_grad()
def needed_radii(
    perturbations: LatentBall,
    clean: Images,
    changed: Images,
    tolerance: PerImage,
    *,
    steps: int = 50,
    restarts: int = 3,
    rounds: int = 8,
    generator: torch.Generator | None = None,
) -> PerImage:
    r"""The smallest radius found for each pair whose ball holds a member within tolerance.

    .. math:: \min \|u\| \quad \text{with} \quad \tfrac1m \|g(x, u) - \tilde x\|^2 \le \tau

    A first search goes up to twice the norm of the pair's encoding, and at least to twice that of a typical draw from
    the prior, :math:`\sqrt d`. Then the radius is bisected between where a member was found and where none was, each
    search beginning at the best offset so far. Its norm is returned.

    Args:
        perturbations: The set; its radius plays no part.
        clean: Images x in [0, 1].
        changed: Images x̃ in [0, 1].
        tolerance: Tolerance of each pair, a mean squared error per pixel.
        steps: Steps of each search.
        restarts: Starts of the first search.
        rounds: Bisections.
        generator: For the random starts.

    Returns:
        Radii in prior standard deviations; infinite where no member was found. Each bounds the least one from above.
    """
    region = perturbations.at(clean)
    best = region.encode(changed)
    largest = 2 * in_double(best.norm(dim=1)).clamp_min(math.sqrt(region.size))
    high, low = torch.full_like(largest, math.inf), torch.zeros_like(largest)
    at_centre = squared_difference(region.decode(region.centre()), changed) <= tolerance
    high[at_centre.to(high.device)] = 0
    for number in range(rounds + 1):
        rows = (high.isinf() if number == 0 else high.isfinite() & (high > 0)).nonzero()[:, 0]
        if not len(rows):
            continue
        level = largest[rows] if number == 0 else (low[rows] + high[rows]) / 2
        ball = replace(perturbations, radius=level.to(best))
        ascent = ProjectedLBFGS(steps, restarts=1 if number else restarts, starts="uniform", stop_on_success=True)
        adversary = Adversary(ball, ApproximationError(tolerance=tolerance[rows]), ascent)
        result = adversary(None, clean[rows], changed[rows], start=best[rows], generator=generator)
        success = result.success.to(rows.device)
        best[rows[success]] = result.offsets[result.success]
        high[rows[success]] = in_double(best[rows[success]]).norm(dim=1)
        low[rows[~success]] = level[~success]
    return high


@dataclass(frozen=True, kw_only=True)
class CoveringRadius(Printed):
    """Searches the radius that one random pair of every held-out source needs, and certifies one for future pairs.

    The statement of :class:`~perturbsets.Coverage`, solved for the radius of the ball. A set whose radius was chosen
    this way must not be certified on the same pairs again.

    Args:
        tolerance: Tolerance τ: a mean squared error per pixel of images on [0, 1], or a share of the change.
        share: Share p of future pairs, in (0, 1).
        alpha: Chance of error α, in (0, 1).
        relative: Whether the tolerance is a share of the pair's own squared change.
        steps: Steps of each search.
        restarts: Starts of the first search of a pair: the encoding, then random points.
        rounds: Bisections of the radius.

    Raises:
        ValueError: If a number is out of range.
    """

    tolerance: float
    share: float
    alpha: float
    relative: bool = False
    steps: int = 50
    restarts: int = 3
    rounds: int = 8

    def __post_init__(self) -> None:
        _check(self.tolerance, self.share, self.alpha)
        if min(self.steps, self.restarts, self.rounds) < 1:
            raise ValueError(
                f"steps, restarts and rounds must be at least 1, got {self.steps}, {self.restarts} and {self.rounds}"
            )

    def __call__(
        self, perturbations: LatentBall, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> RadiusCertificate:
        """Certifies a radius from pairs that had no part in learning or selection; the set's own plays no part.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them, there are too few sources, or the set gives
                NaN or infinity.
        """
        check_held_out(perturbations, pairs)
        drawn = draw_pairs(pairs, generator=generator)
        check_enough(len(drawn), self.share, self.alpha)
        parts = []
        for clean, changed, source, _ in batches(drawn, device=perturbations.device):
            change = squared_difference(clean, changed)
            tolerance = self.tolerance * (change if self.relative else torch.ones_like(change))
            search = {"steps": self.steps, "restarts": self.restarts, "rounds": self.rounds}
            radii = needed_radii(perturbations, clean, changed, tolerance, **search, generator=generator)
            parts.append({"radii": radii, "sources": source})
        wanted: dict[str, Any] = {"tolerance": self.tolerance, "share": self.share, "alpha": self.alpha}
        return covering_radius(**joined(parts), **wanted, relative=self.relative, generator=generator)


def _check(tolerance: float, share: float, alpha: float) -> None:
    """Refuses numbers out of range."""
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be 0 or more and finite, got {tolerance}")
    check_two(limit=None, share=share, alpha=alpha, name="radius")
