"""Sets that cheat, named: what two summaries say of a set that meets the criteria without learning any change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_COPIED = 0.25
"""Largest share of mismatched pairs that may be as near as a typical real change. Under a set to which foreign images
are as good as real changes it is a half (by the definition of a median) to all of them; under a set learned from
digits it was none of 1,200 pairs, and 1.3 % in a ball of a quarter of its radius."""

MOST_STILL = 0.05
"""Largest share of images around which a set may hold nothing but x, or nothing but one other image. Some sources do
not change, such as a black image under a change of contrast; one in twenty is more than that."""


@dataclass(frozen=True)
class Finding:
    """One way in which a set cheats.

    Attributes:
        name: ``"returns everything"``, ``"returns only x"`` or ``"ignores the offsets"``.
        figure: The share that made it a finding.
        threshold: The largest share that would have been none.
        says: What was found, in a sentence.
        beside: Further figures that a reader should see with it.
    """

    name: str
    figure: float
    threshold: float
    says: str
    beside: Mapping[str, float | None] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {**vars(self), "beside": dict(self.beside)}


def diagnose_set(necessary: Mapping[str, Any], overapproximation: Mapping[str, Any]) -> list[Finding]:
    """Names the ways in which a set cheats; an empty list for none of them.

    - *returns everything*: asked for changes of other images, it comes as near as to its own. How far it reaches is
      told beside, but makes no finding: an honest set reaches beyond the real changes that were seen as well.
    - *returns only x*: the farthest member found is not displaced by a hundredth of the mean real change.
    - *ignores the offsets* (posterior collapse): members are displaced, but all alike.

    Each is a share of pairs or images, so that a set which cheats for some images is named with how many they are.

    Args:
        necessary: Summary of :class:`perturbsets.criteria.NecessaryResult`, or the same read from JSON.
        overapproximation: Summary of :class:`perturbsets.criteria.OverApproximationResult`.

    Returns:
        The findings, each with the figure and the threshold that made it.

    Raises:
        ValueError: If a summary lacks a figure.

    References:
        Bowman et al., *Generating sentences from a continuous space*, 2016, sec. 3.1 (latents that are ignored).

    Example:
        >>> none, all_ = {"mean": 0.0, "ratio": 0.0, "share": 1.0}, {"mean": 1.0}
        >>> shares = {"search": none, "mismatched_search": none, "copied": none, "norms": all_}
        >>> around = {"reach": none, "diversity": none, "still": all_, "fixed": none}
        >>> [finding.name for finding in diagnose_set(shares, around)]
        ['returns only x']
    """
    try:
        copied, still, fixed = (
            float(entry["mean"])
            for entry in (necessary["copied"], overapproximation["still"], overapproximation["fixed"])
        )
        beside = {
            "share left of real changes": necessary["search"]["share"],
            "share left of mismatched ones": necessary["mismatched_search"]["share"],
            "mean norm of the encodings": necessary["norms"]["mean"],
            "reach over the largest real changes": overapproximation["reach"]["ratio"],
            "diversity over that of real changes": overapproximation["diversity"]["ratio"],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"necessary and overapproximation must be summaries of these criteria, got some without {error}: measure "
            "both anew"
        ) from error
    every = (
        Finding(
            "returns everything",
            copied,
            MOST_COPIED,
            f"asked for changes of another image, it comes as near as to a typical change of its own on {copied:.1%} "
            "of the pairs: errors of the nearest member say nothing about what was learned",
            beside,
        ),
        Finding(
            "returns only x",
            still,
            MOST_STILL,
            f"around {still:.1%} of the images no member differs from x by a hundredth of the mean real change: there "
            "is nothing to train on or to withstand",
            beside,
        ),
        Finding(
            "ignores the offsets",
            fixed,
            MOST_STILL,
            f"around {fixed:.1%} of the images all members are one and the same image, and not x: the offsets do "
            "nothing (posterior collapse)",
            beside,
        ),
    )
    return [finding for finding in every if finding.figure > finding.threshold]
