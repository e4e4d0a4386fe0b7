"""The radius that future pairs need: an order statistic of those at which held-out pairs come within a tolerance."""

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
    confidence,
    draw_pairs,
    one_per_source,
    tolerance_limit,
    within_tolerance,
)
from perturbsets.criteria.pairs import Pairs, batches, check_held_out
from perturbsets.objectives import ApproximationError
from perturbsets.sets import LatentBall


@dataclass(frozen=True)
class RadiusCertificate:
    """With confidence 1 − α, this radius suffices for a share p of future pairs to lie within tolerance.

    Attributes:
        radii: Radius that the one random pair of each source needs, in float64; infinite where none was found.
        source: Number of each source.
        covering: The radius (its ``limit``; infinite where none can be certified), share and α.
        tolerance: The tolerance τ.
        relative: Whether the tolerance is a share of the pair's own squared change; otherwise it is a mean squared
            error per pixel of images on [0, 1].
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
        """The certificate in plain words; the radius is rounded up."""
        found, count, share = self.covering, self.covering.count, f"{100 * self.covering.share:.10g} %"
        near = f"a member {within_tolerance(self.tolerance, relative=self.relative)}"
        if math.isinf(self.radius):
            return (
                f"No radius is certified: only {int(self.radii.isfinite().sum())} of {count} held-out sources, one "
                f"random pair each, have {near} at any radius that was searched, and {found.rank} would have to for "
                f"{share} of future pairs with confidence {confidence(found.alpha)}."
            )
        return (
            f"With confidence {confidence(found.alpha)}, a radius of {at_most(self.radius)} prior standard deviations "
            f"suffices for at least {share} of future pairs to have {near}: it does for "
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
    """Certifies a radius by those that held-out pairs need; one random pair of each source counts.

    Args:
        radii: Radius at which each pair comes within the tolerance; any upper bound of the least one is valid. NaN and
            infinity stand for pairs that never do.
        sources: Number of each pair's source, image or scene.
        tolerance: The tolerance τ that the radii were searched for.
        share: Share p of future pairs, in (0, 1).
        alpha: Chance of error α, in (0, 1).
        relative: Whether the tolerance is a share of the pair's own squared change.
        generator: For the draw of one pair a source; the global one if not given.

    Returns:
        The certificate; its string is a sentence.

    Raises:
        ValueError: If a number is out of range, a radius is negative, lengths differ, or sources are too few; the
            message says how many are needed.
    """
    _check(tolerance, share, alpha)
    if len(radii) != len(sources):
        raise ValueError(f"radii and sources must have one row per pair, got {len(radii)} and {len(sources)}")
    if bool((radii < 0).any()):
        raise ValueError(f"radii must be 0 or more, got {float(radii.min()):.4g}")
    rows = one_per_source(sources, generator=generator)
    drawn = radii.detach().cpu().double()[rows].nan_to_num(nan=math.inf, posinf=math.inf)
    return RadiusCertificate(
        drawn, sources.cpu()[rows], tolerance_limit(drawn, share=share, alpha=alpha), tolerance, relative
    )


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
    r"""The smallest radius found, pair by pair, whose ball holds a member within tolerance.

    .. math:: \min \|u\| \quad \text{with} \quad \tfrac1m \|g(x, u) - \tilde x\|^2 \le \tau

    A first search looks for any such member, up to twice the norm of the pair's encoding, and at least twice that of a
    typical draw from the prior, :math:`\sqrt d`. Then the radius is halved between where a member was found and where
    none was, each search beginning at the best offset so far; what is returned is that offset's own norm.

    Args:
        perturbations: The set; its radius plays no part.
        clean: Images x in [0, 1].
        changed: Images x̃ in [0, 1].
        tolerance: Tolerance of each pair, a mean squared error per pixel.
        steps: Steps of each search.
        restarts: Starts of the first search.
        rounds: Halvings.
        generator: For the random starts.

    Returns:
        Radii in prior standard deviations; infinite where no member was found. Each bounds the least one from above.
    """
    region = perturbations.at(clean)
    best = region.encode(changed)
    largest = 2 * in_double(best.norm(dim=1)).clamp_min(math.sqrt(region.size))
    high, low = torch.full_like(largest, math.inf), torch.zeros_like(largest)
    nothing = (region.decode(region.centre()) - changed).square().flatten(1).mean(1) <= tolerance
    high[nothing.to(high.device)] = 0
    for number in range(rounds + 1):
        rows = (high.isinf() if number == 0 else high.isfinite() & (high > 0)).nonzero()[:, 0]
        if not len(rows):
            continue
        level = largest[rows] if number == 0 else (low[rows] + high[rows]) / 2
        ball = replace(perturbations, radius=level.to(best))
        ascent = ProjectedLBFGS(steps, restarts=1 if number else restarts, starts="uniform", stop_on_success=True)
        adversary = Adversary(ball, ApproximationError(tolerance=tolerance[rows]), ascent)
        found = adversary(None, clean[rows], changed[rows], start=best[rows], generator=generator)
        success = found.success.to(rows.device)
        won, lost = rows[success], rows[~success]
        best[won] = found.offsets[found.success]
        high[won] = in_double(best[won]).norm(dim=1)
        low[lost] = level[~success]
    return high


@dataclass(frozen=True)
class CoveringRadius:
    """Searches the radius that one random pair of every held-out source needs, and certifies one for future pairs.

    The statement is as in :class:`~perturbsets.Coverage`, solved for the radius of the ball: a set of this radius comes
    within the tolerance of a share of future pairs. A set whose radius was chosen so must not be certified by the same
    pairs once more.

    Args:
        tolerance: Tolerance τ: a mean squared error per pixel of images on [0, 1], or a share of the change.
        share: Share p of future pairs, in (0, 1).
        alpha: Chance of error α, in (0, 1).
        relative: Whether the tolerance is a share of the pair's own squared change.
        steps: Steps of each search.
        restarts: Starts of the first search of a pair: the encoding, then random points.
        rounds: Halvings of the radius.

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
        """Certifies.

        Args:
            perturbations: The set; its own radius plays no part.
            pairs: Pairs that had no part in learning or selection.
            generator: For the draw of pairs and the random starts.

        Raises:
            ValueError: If there are no pairs, the set was learned from them, sources are too few, or the set gives NaN
                or infinity.
        """
        check_held_out(perturbations, pairs)
        drawn = draw_pairs(pairs, generator=generator)
        check_enough(len(drawn), self.share, self.alpha)
        rows = []
        for clean, changed, source in batches(drawn, device=perturbations.device):
            change = (clean - changed).square().flatten(1).mean(1)
            tolerance = self.tolerance * (change if self.relative else torch.ones_like(change))
            radii = needed_radii(
                perturbations,
                clean,
                changed,
                tolerance,
                steps=self.steps,
                restarts=self.restarts,
                rounds=self.rounds,
                generator=generator,
            )
            rows.append([radii.cpu(), source])
        radii, sources = (torch.cat(column) for column in zip(*rows, strict=True))
        return covering_radius(
            radii,
            sources,
            tolerance=self.tolerance,
            share=self.share,
            alpha=self.alpha,
            relative=self.relative,
            generator=generator,
        )


def _check(tolerance: float, share: float, alpha: float) -> None:
    """Refuses numbers out of range."""
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be 0 or more and finite, got {tolerance}")
    check_two(limit=None, share=share, alpha=alpha, name="radius")
