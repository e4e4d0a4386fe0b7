"""All criteria of a learned set on one split of pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from perturbsets.criteria.diagnosis import diagnose_set
from perturbsets.criteria.likelihood import SufficientLikelihood, SufficientResult
from perturbsets.criteria.necessary import NecessarySubset
from perturbsets.criteria.overapproximation import OverApproximation, OverApproximationResult
from perturbsets.criteria.pairs import Pairs
from perturbsets.criteria.quality import SetQuality
from perturbsets.criteria.theorems import Theorems
from perturbsets.criteria.verdict import judge
from perturbsets.rows import one_number
from perturbsets.sets import LatentBall

SHOWN = 8  # pairs whose offsets are returned for pictures


def check_set(
    learned: LatentBall,
    pairs: Pairs,
    *,
    necessary: NecessarySubset | None = None,
    sufficient: SufficientLikelihood | None = None,
    overapproximation: OverApproximation | None = None,
    theorems: Theorems | None = None,
    quality: SetQuality | None = None,
    second: float | None = None,
    generator: torch.Generator | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Measures all criteria on pairs that were neither trained on nor used to choose the radius.

    Each criterion has its default settings if not given; the quality is left out where there are too few pairs. A
    second radius may be given to compare.

    Returns:
        The figures and the verdict as plain values, and tensors: errors of each pair, and offsets of the worst and
        farthest members.
    """
    radius = one_number(learned.radius, "radius")
    necessary, quality = necessary or NecessarySubset(), quality or SetQuality()
    criteria = (sufficient or SufficientLikelihood(), overapproximation or OverApproximation())
    if second is not None:
        shares = {*necessary.curve, second / radius} - {0.0, 1.0}
        necessary = replace(necessary, curve=tuple(sorted(shares)))
    nearest = necessary(learned, pairs, generator=generator)
    bounds = (theorems or Theorems())(learned, pairs, generator=generator)
    content, likelihood, around = _at_radius(learned, pairs, *criteria, generator)
    summary = nearest.summary()
    content |= {
        "necessary": summary,
        "theorems": {
            **bounds.summary(),
            "beside": bounds.compare(error=nearest.search, bits_per_pixel=likelihood.bits_per_pixel),
            "warning": likelihood.warning,
        },
        "findings": [finding.summary() for finding in diagnose_set(summary, content["overapproximation"])],
    }
    content["approximation"]["share"] = content["approximation"]["mean"] / summary["identity"]["mean"]
    if second is not None:
        other, _, _ = _at_radius(replace(learned, radius=second), pairs, *criteria, generator)
        both = {radius: content, second: other}
        content["radii"] = [
            {**entry, **{name: both[size][name] for name in ("sufficient", "overapproximation")}}
            for size in sorted(both)
            for entry in [min(summary["curve"], key=lambda entry: abs(float(entry["radius"]) - size))]
        ]
    if len(pairs) // 2 > quality.neighbours:  # fewer cannot be compared
        content["quality"] = quality(learned, pairs, generator=generator).summary()
    content["verdict"] = judge(content).summary()
    worst, farthest = nearest.worst(SHOWN), around.reach.argsort(descending=True, stable=True)[:SHOWN]
    return content, {
        "encoding_error": nearest.encoding,
        "search_error": nearest.search,
        "identity_error": nearest.identity,
        "mismatched_error": nearest.mismatched_search,
        "worst_pairs": worst,
        "worst_offsets": nearest.offsets[worst],
        "farthest_pairs": around.row[farthest],
        "farthest_offsets": around.offsets[farthest],
    }


def _at_radius(
    learned: LatentBall,
    pairs: Pairs,
    sufficient: SufficientLikelihood,
    overapproximation: OverApproximation,
    generator: torch.Generator | None,
) -> tuple[dict[str, Any], SufficientResult, OverApproximationResult]:
    """The criteria that are measured anew at another radius."""
    likelihood = sufficient(learned, pairs, generator=generator)
    around = overapproximation(learned, pairs, generator=generator)
    figures = likelihood.summary()
    approximation = figures.pop("approximation")
    content = {
        "sufficient": {**figures, "draws": sufficient.draws},
        "approximation": approximation,
        "overapproximation": around.summary(),
    }
    return content, likelihood, around
