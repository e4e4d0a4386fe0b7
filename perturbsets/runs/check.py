"""Measuring the criteria of a learned set on one split of the pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from rich.console import Group
from rich.table import Table
from torch import Tensor

from cvae import derive_seed
from perturbsets.criteria import OverApproximationResult, SetQuality, SufficientResult, diagnose_set
from perturbsets.criteria.pairs import Pairs
from perturbsets.recipe import Recipe
from perturbsets.report.findings import between, likelihood, share, share_interval, times
from perturbsets.rows import one_number
from perturbsets.sets import LatentBall

SHOWN = 8  # pairs of which the report draws pictures
NONE_FOUND = "no sign of cheating: it does not return everything, nor only x, nor ignore its offsets"


def measure(
    recipe: Recipe, learned: LatentBall, pairs: Pairs, second: float | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """All criteria on some pairs.

    Args:
        recipe: Says how they are measured.
        learned: The set.
        pairs: Pairs that were neither trained on nor used to choose the radius.
        second: A second radius to compare.

    Returns:
        The figures as plain values, and what the report draws.
    """
    settings, radius = recipe.check, one_number(learned.radius, "radius")
    generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "check"))
    criterion = settings.necessary.make()
    if second is not None:
        shares = {*criterion.curve, second / radius} - {0.0, 1.0}
        criterion = replace(criterion, curve=tuple(sorted(shares)))
    necessary = criterion(learned, pairs, generator=generator)
    theorems = settings.theorems.make()(learned, pairs, generator=generator)
    content, sufficient, around = _at(learned, recipe, pairs, generator)
    summary = necessary.summary()
    content |= {
        "necessary": summary,
        "theorems": {
            **theorems.summary(),
            "beside": theorems.compare(error=necessary.search, bits_per_pixel=sufficient.bits_per_pixel),
            "warning": sufficient.warning,
        },
        "findings": [finding.summary() for finding in diagnose_set(summary, content["overapproximation"])],
    }
    content["approximation"]["share"] = content["approximation"]["mean"] / summary["identity"]["mean"]
    if second is not None:
        other, _, _ = _at(replace(learned, radius=second), recipe, pairs, generator)
        both = {radius: content, second: other}
        content["radii"] = [
            {**entry, **{name: both[size][name] for name in ("sufficient", "overapproximation")}}
            for size in sorted(both)
            for entry in [min(summary["curve"], key=lambda entry: abs(float(entry["radius"]) - size))]
        ]
    if len(pairs) // 2 > settings.quality.neighbours:  # fewer cannot be compared
        comparison = SetQuality(settings.quality.features.make(), neighbours=settings.quality.neighbours)
        quality = comparison(learned, pairs, generator=generator).summary()
        content["quality"] = {**quality, "features": settings.quality.features.build.rsplit(".", 1)[1]}
    worst, farthest = necessary.worst(SHOWN), around.reach.argsort(descending=True, stable=True)[:SHOWN]
    arrays = {
        "encoding_error": necessary.encoding,
        "search_error": necessary.search,
        "identity_error": necessary.identity,
        "mismatched_error": necessary.mismatched_search,
        "worst_pairs": worst,
        "worst_offsets": necessary.offsets[worst],
        "farthest_pairs": around.row[farthest],
        "farthest_offsets": around.offsets[farthest],
    }
    return content, arrays


def _at(
    learned: LatentBall, recipe: Recipe, pairs: Pairs, generator: torch.Generator
) -> tuple[dict[str, Any], SufficientResult, OverApproximationResult]:
    """The criteria that are measured anew at another radius."""
    criterion = recipe.check.sufficient.make()
    sufficient = criterion(learned, pairs, generator=generator)
    around = recipe.check.overapproximation.make()(learned, pairs, generator=generator)
    figures = sufficient.summary()
    approximation = figures.pop("approximation")
    content = {
        "sufficient": {**figures, "draws": criterion.draws},
        "approximation": approximation,
        "overapproximation": around.summary(),
    }
    return content, sufficient, around


def shown(content: dict[str, Any]) -> Group:
    """The figures for the console."""
    table = Table("error", "mean", "share of identity", "95 % interval")
    for name in ("identity", "centre", "reconstruction", "encoding", "search", "mismatched_search"):
        entry = content["necessary"][name]
        table.add_row(name, f"{entry['mean']:.3g}", share(entry), share_interval(entry))
    excess, sufficient = content["necessary"]["excess"], content["sufficient"]
    (bits, interval), (reach, diversity) = (
        likelihood(sufficient),
        (content["overapproximation"][n] for n in ("reach", "diversity")),
    )
    largest = content["necessary"]["centre_largest"]
    return Group(
        table,
        "centre: the member at offset 0, the only one at radius 0, against the clean image itself; a pixel differs by "
        f"up to {largest['max']:.2g}",
        f"cross-entropy of the nearest member over the least: {excess['mean']:.3g} nats per pixel "
        f"({between(excess, '{:.3g}'.format)})",
        f"log-likelihood {bits} bits per pixel ({interval}) {sufficient['warning']}".rstrip(),
        f"farthest member at {times(reach['ratio'])} the largest real changes, samples differ "
        f"{times(diversity['ratio'])} as much as real changes of a source do",
        _quality(content.get("quality")),
        *[f"{finding['name'].upper()}: {finding['sentence']}" for finding in content["findings"]] or [NONE_FOUND],
        *_radii(content.get("radii", [])),
    )


def _radii(entries: list[dict[str, Any]]) -> list[Table | str]:
    """The criteria at two radii, and what is wrong with a figure."""
    if not entries:
        return []
    table = Table("radius", "nearest member", "mismatched", "bits per pixel", "farthest member")
    for entry in entries:
        bits, _ = likelihood(entry["sufficient"])
        shares = (share(entry[name]) for name in ("search", "mismatched_search"))
        reach = times(entry["overapproximation"]["reach"]["ratio"])
        table.add_row(f"{entry['radius']:.2f}", *shares, bits, reach)
    warned = [entry for entry in entries if entry["sufficient"]["warning"]]
    return [table, *(f"radius {entry['radius']:.2f}: {entry['sufficient']['warning']}" for entry in warned)]


def _quality(quality: dict[str, Any] | None) -> str:
    if quality is None:
        return "too few pairs for distances between samples and real changes"
    distances = ", ".join(f"{name} {value:.3g}" for name, value in quality["frechet"].items())
    shares = ", ".join(f"{name} {quality[name]['mean']:.1%}" for name in ("precision", "recall"))
    return f"Fréchet distance to real changes ({quality['features']}): {distances}; {shares}"
