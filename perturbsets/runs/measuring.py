"""Measuring the criteria of a learned set on one split of the pairs."""

from __future__ import annotations

from typing import Any

import torch
from rich.console import Group
from rich.table import Table
from torch import Tensor

from cvae import derive_seed
from perturbsets.criteria import SetQuality
from perturbsets.criteria.pairs import Pairs
from perturbsets.recipe import Recipe
from perturbsets.sets import LatentBall


def measure(recipe: Recipe, learned: LatentBall, pairs: Pairs) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """All criteria on some pairs.

    Args:
        recipe: Says how they are measured.
        learned: The set.
        pairs: Pairs that were neither trained on nor used to choose the radius.

    Returns:
        The figures as plain values, and the errors per pair.
    """
    generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "check"))
    necessary = recipe.check.necessary.make()(learned, pairs, generator=generator)
    likelihood = recipe.check.sufficient.make()
    sufficient = likelihood(learned, pairs, generator=generator).summary()
    settings = recipe.check.quality
    summary = necessary.summary()
    approximation = sufficient.pop("approximation")
    approximation["share"] = approximation["mean"] / summary["identity"]["mean"]
    content = {
        "necessary": summary,
        "sufficient": {**sufficient, "draws": likelihood.draws},
        "approximation": approximation,
    }
    if len(pairs) // 2 > settings.neighbours:  # fewer cannot be compared
        criterion = SetQuality(settings.features.make(), settings.neighbours)
        quality = criterion(learned, pairs, generator=generator).summary()
        content["quality"] = {**quality, "features": settings.features.build.rsplit(".", 1)[1]}
    arrays = {
        "encoding_error": necessary.encoding,
        "search_error": necessary.search,
        "identity_error": necessary.identity,
        "mismatched_error": necessary.mismatched_search,
    }
    return content, arrays


def shown(content: dict[str, Any]) -> Group:
    """The figures for the console."""
    table = Table("error", "mean", "share of identity", "95 % interval")
    for name in ("identity", "reconstruction", "encoding", "search", "mismatched_search"):
        entry = content["necessary"][name]
        interval = f"{entry['share_low']:.2%} to {entry['share_high']:.2%}"
        table.add_row(name, f"{entry['mean']:.3g}", f"{entry['share']:.2%}", interval)
    excess, bits = content["necessary"]["excess"], content["sufficient"]["bits_per_pixel"]
    return Group(
        table,
        f"cross-entropy of the nearest member over the least: {excess['mean']:.3g} nats per pixel "
        f"({excess['low']:.3g} to {excess['high']:.3g})",
        f"log-likelihood {bits['mean']:.3f} bits per pixel ({bits['low']:.3f} to {bits['high']:.3f})"
        + f" {content['sufficient']['warning']}".rstrip(),
        _quality(content.get("quality")),
    )


def _quality(quality: dict[str, Any] | None) -> str:
    if quality is None:
        return "too few pairs for distances between samples and real changes"
    distances = ", ".join(f"{name} {value:.3g}" for name, value in quality["frechet"].items())
    shares = ", ".join(f"{name} {quality[name]['mean']:.1%}" for name in ("precision", "recall"))
    return f"Fréchet distance to real changes ({quality['features']}): {distances}; {shares}"
