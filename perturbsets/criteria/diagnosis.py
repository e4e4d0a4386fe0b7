"""Degenerate sets: ways to meet the criteria without having learned any change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perturbsets.printing import Result

MOST_COPIED = 0.25
"""Largest share of mismatched pairs that may be as near as a typical real change. It is about a half or more for a set
that treats foreign images like real changes (by the definition of a median); for a set learned from digits it was none
of 1,200 pairs, and 1.3 % in a ball of a quarter of its radius."""

MOST_STILL = 0.05
"""Largest share of images around which a set may hold only x, or only one other image. Some sources do not change, such
as a black image under a change of contrast."""


@dataclass(frozen=True)
class Finding(Result):
    """One way in which a set is degenerate.

    Attributes:
        name: ``"returns everything"``, ``"returns only x"`` or ``"ignores the offsets"``.
        figure: The share that is too large.
        threshold: The largest share allowed.
        sentence: The finding in a sentence.
        related: Related figures.
    """

    name: str
    figure: float
    threshold: float
    sentence: str
    related: Mapping[str, float | None] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {**vars(self), "related": dict(self.related)}


def diagnose_set(necessary: Mapping[str, Any], overapproximation: Mapping[str, Any]) -> list[Finding]:
    """Detects degenerate sets; an empty list means that none was detected.

    - *returns everything*: it comes as near to changes of other images as to its own. Its reach is reported but no
      criterion: a good set reaches beyond the observed changes too.
    - *returns only x*: the displacement of the farthest member found is below a hundredth of the mean real change.
    - *ignores the offsets* (posterior collapse): members are displaced, but all alike.

    Each is a share of pairs or images, so that sets which are degenerate for some images are detected too.

    Args:
        necessary: Summary of :class:`perturbsets.criteria.NecessaryResult`, or the same read from JSON.
        overapproximation: Summary of :class:`perturbsets.criteria.OverApproximationResult`.

    Raises:
        ValueError: If a summary lacks a figure.

    References:
        Bowman et al., *Generating sentences from a continuous space*, 2016, sec. 3.1 (latents that are ignored).
    """
    try:
        copied = float(necessary["copied"]["mean"])
        still, fixed = (float(overapproximation[name]["mean"]) for name in ("still", "fixed"))
        related = {
            "error on real changes": necessary["search"]["share"],
            "error on mismatched changes": necessary["mismatched_search"]["share"],
            "mean norm of the encodings": necessary["norms"]["mean"],
            "reach over the largest real changes": overapproximation["reach"]["ratio"],
            "diversity over that of real changes": overapproximation["diversity"]["ratio"],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"necessary and overapproximation must be summaries of these criteria, got some without {error}: measure "
            "both again"
        ) from error
    everything = (
        f"for changes of another image it comes as near as to a typical change of its own on {copied:.1%} of the "
        "pairs, so errors of the nearest member are no evidence that changes were learned"
    )
    only_x = (
        f"around {still:.1%} of the images no member differs from x by a hundredth of the mean real change, so "
        "there is nothing to train on or to attack with"
    )
    ignored = (
        f"around {fixed:.1%} of the images all members are the same image, other than x: the offsets have no "
        "effect (posterior collapse)"
    )
    candidates = (
        Finding("returns everything", copied, MOST_COPIED, everything, related),
        Finding("returns only x", still, MOST_STILL, only_x, related),
        Finding("ignores the offsets", fixed, MOST_STILL, ignored, related),
    )
    return [finding for finding in candidates if finding.figure > finding.threshold]
