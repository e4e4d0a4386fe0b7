"""Coverage certificates: what share of future pairs lies within a tolerance of a set.

The one assumption is that held-out sources are drawn independently, as future ones will be, and had no part in
learning, selection or the radius. The search error bounds the least error from above, so a weak search makes the
statement weaker, never wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import PerImage
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import ProjectedLBFGS
from perturbsets.certificates.covering import (
    Covering,
    at_least,
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
from perturbsets.sets import PerturbationSet
from perturbsets.sets.latent import LatentRegion


@dataclass(frozen=True)
class CoverageCertificate(Result):
    """With confidence 1 − α, at least a share p of future pairs lies within tolerance τ of the set.

    Attributes:
        errors: Error of one random pair of each source, in float64; infinite where it was not finite.
        source: Number of each source.
        covering: Tolerance (its ``limit``), share and α, and which of them was solved for.
        relative: Whether errors are shares of the pair's own squared change, or else mean squared errors per pixel.
    """

    errors: PerImage
    source: Tensor
    covering: Covering
    relative: bool

    @property
    def tolerance(self) -> float:
        """The tolerance τ; infinite where none can be certified."""
        return self.covering.limit

    @property
    def share(self) -> float:
        """The share p."""
        return self.covering.share

    @property
    def alpha(self) -> float:
        """The chance of error α; where it was solved for, a p-value."""
        return self.covering.alpha

    @property
    def within(self) -> int:
        """Number of sources within the tolerance."""
        return int((self.errors <= self.tolerance).sum()) if math.isfinite(self.tolerance) else 0

    @property
    def sentence(self) -> str:
        """The certificate in words; numbers that were solved for are rounded to the safe side."""
        count, rank, solved = self.covering.count, self.covering.rank, self.covering.solved
        share = f"{at_least(100 * self.share) if solved == 'share' else format(100 * self.share, '.10g')} %"
        near = f"a member of the set {within_tolerance(self.tolerance, relative=self.relative, up=solved == 'limit')}"
        if solved == "alpha":
            return (
                f"If fewer than {share} of pairs drawn like these had {near}, {rank} or more of {count} held-out "
                f"sources, one random pair each, would have one with a chance of at most {at_most(self.alpha)} "
                "(p-value)."
            )
        if solved == "share" and not rank:
            return f"No share is certified: none of {count} held-out sources, one random pair each, has {near}."
        if math.isinf(self.tolerance):
            return (
                f"No tolerance is certified: only {int(self.errors.isfinite().sum())} of {count} held-out sources, one "
                f"random pair each, have a finite error, and {rank} would have to for {share} of pairs drawn like "
                f"these with confidence {confidence(self.alpha)}."
            )
        return (
            f"With confidence {confidence(self.alpha)}, at least {share} of pairs drawn like these have {near}: "
            f"{self.within} of {count} held-out sources have one, one random pair each."
        )

    def __str__(self) -> str:
        return self.sentence

    def summary(self) -> dict[str, Any]:
        """The certificate as plain values; the tolerance is ``None`` where none can be certified."""
        finite = math.isfinite(self.tolerance)
        return {
            "tolerance": self.tolerance if finite else None,
            "grey_levels": 255 * math.sqrt(self.tolerance) if finite and not self.relative else None,
            "share": self.share,
            "alpha": self.alpha,
            "solved": "tolerance" if self.covering.solved == "limit" else self.covering.solved,
            "relative": self.relative,
            "sources": self.covering.count,
            "within": self.within,
            "sentence": self.sentence,
        }


def coverage(
    errors: PerImage,
    sources: Tensor,
    *,
    tolerance: float | None = None,
    share: float | None = None,
    alpha: float | None = None,
    changes: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> CoverageCertificate:
    r"""Certifies coverage from the errors of held-out pairs; two of tolerance, share and alpha are given.

    .. math:: P\Big( P\big(\min_{u \in B} \tfrac1m \|g(x, u) - \tilde x\|^2 \le \tau\big) \ge p \Big) \ge 1 - \alpha

    with the inner probability over a future pair (a random one of a random source) and the outer one over the held-out
    pairs. One random pair of each source counts. How the third number follows:
    :mod:`perturbsets.certificates.covering`.

    Args:
        errors: Mean squared error per pixel of each pair at the nearest member found; any upper bound of the least one
            is valid. NaN and infinity lie outside every tolerance: do not leave such pairs out.
        sources: Number of each pair's source, image or scene.
        tolerance: Tolerance τ, in the unit of the errors, or as a share of the change where `changes` are given.
        share: Share p of future pairs, in (0, 1).
        alpha: Chance of error α, in (0, 1); solved for, it is a p-value.
        changes: Squared change of each pair, :math:`\tfrac1m \|x - \tilde x\|^2`, to measure errors as shares of it. A
            pair without any change is within a tolerance only if its error is 0.
        generator: For the draw of one pair per source; the global one if not given.

    Raises:
        ValueError: If not exactly two of the three are given, one is out of range, an error is negative, lengths
            differ, or there are too few sources; the message says how many are needed.

    Example:
        >>> errors, sources = torch.linspace(0, 0.01, 101), torch.arange(101)
        >>> print(coverage(errors, sources, share=0.9, alpha=0.05).sentence[:68])
        With confidence 95 %, at least 90 % of pairs drawn like these have a
    """
    check_two(limit=tolerance, share=share, alpha=alpha, name="tolerance")
    counted = checked_values(errors, sources, "errors")
    if changes is not None:
        change = checked_values(changes, sources, "changes")
        counted = torch.where(change > 0, counted / change, torch.where(counted > 0, math.inf, 0.0))
    rows = one_per_source(sources, generator=generator)
    drawn = counted[rows]
    covering = tolerance_limit(drawn, limit=tolerance, share=share, alpha=alpha)
    return CoverageCertificate(drawn, sources.cpu()[rows], covering, changes is not None)


@dataclass(frozen=True, kw_only=True)
class Coverage(Printed):
    """Searches the nearest member for one random pair of every held-out source, and certifies coverage.

    Two of tolerance, share and alpha are given and the third follows, as in :func:`coverage`. Classic sets can be
    certified too; for a learned one the search begins at the encoding.

    Args:
        tolerance: Tolerance τ: a mean squared error per pixel of images on [0, 1], or a share of the change.
        share: Share p of future pairs.
        alpha: Chance of error α.
        relative: Whether errors are shares of the pair's own squared change.
        steps: Steps of each search.
        restarts: Starts of each search: the encoding where there is one, then random points.

    Raises:
        ValueError: If not exactly two of the three are given, or a number is out of range.
    """

    tolerance: float | None = None
    share: float | None = None
    alpha: float | None = None
    relative: bool = False
    steps: int = 50
    restarts: int = 3

    def __post_init__(self) -> None:
        check_two(limit=self.tolerance, share=self.share, alpha=self.alpha, name="tolerance")
        _ = self._ascent

    @property
    def _ascent(self) -> ProjectedLBFGS:
        return ProjectedLBFGS(self.steps, restarts=self.restarts, starts="uniform")

    def __call__(
        self, perturbations: PerturbationSet, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> CoverageCertificate:
        """Certifies coverage from pairs that had no part in learning, selection or the radius.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them (as far as both know their images), there are
                too few sources, or the set gives NaN or infinity.
        """
        check_held_out(perturbations, pairs)
        adversary = Adversary(perturbations, ApproximationError(), self._ascent)
        drawn = draw_pairs(pairs, generator=generator)
        check_enough(len(drawn), self.share, self.alpha)
        parts = []
        for clean, changed, source, _ in batches(drawn, device=getattr(perturbations, "device", "cpu")):
            region = perturbations.at(clean)
            start = region.encode(changed) if isinstance(region, LatentRegion) else None
            nearest = adversary(None, clean, changed, start=start, generator=generator)
            change = {"changes": squared_difference(clean, changed)} if self.relative else {}
            parts.append({"errors": -nearest.loss, "sources": source, **change})
        wanted: dict[str, Any] = {"tolerance": self.tolerance, "share": self.share, "alpha": self.alpha}
        return coverage(**joined(parts), **wanted, generator=generator)
