"""The sections on the criteria: pictures of what the set misses and of how far it reaches, then the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from perturbsets.report import charts, findings, set_pictures
from perturbsets.report.pictures import Grid
from perturbsets.report.radius_charts import necessary_chart, theorem_chart
from perturbsets.report.section import Section, read_json, read_tensors
from perturbsets.sets.latent import LatentBall


def criteria_sections(run: Path, checks: dict[str, Any] | None, pairs: Path) -> list[Section]:
    """The sections on norms, extremes, criteria and theorems.

    Args:
        run: The run folder.
        checks: What the check stage wrote; ``None`` if it has not.
        pairs: The pair file.
    """
    norms, criteria = ("norms", "Where encodings lie"), ("criteria", "The criteria")
    file = run / "checks" / "arrays.safetensors"
    if checks is None or not file.is_file():
        return [Section(*norms, needs="check"), Section(*criteria, needs="check")]
    known = read_json(run / "evaluation" / "labels.json")
    checks["overapproximation"]["labels"] = known
    arrays = read_tensors(file)
    errors = {
        "nearest member": arrays["search_error"],
        "at the encoding": arrays["encoding_error"],
        "no set at all": arrays["identity_error"],
        "nearest, mismatched": arrays["mismatched_error"],
    }
    radius, latent = checks["radius"]["value"], (read_json(run / "set" / "config.json") or {}).get("latent")
    drawn = [charts.errors_chart(errors), necessary_chart(checks["necessary"]["curve"], radius)]
    return [
        Section(*norms, charts=[charts.norms_chart(arrays["norms"], radius, latent)], content=checks["radius"]),
        *_extremes(run, pairs, arrays),
        Section(*criteria, charts=drawn, content=_figures(checks)),
        *(
            [Section("unseen", "The criteria under unseen conditions", content=_figures(checks["unseen"]))]
            if "unseen" in checks
            else []
        ),
        Section(
            "theorems",
            "What theorems prove of the set",
            charts=[theorem_chart(latent, checks["theorems"]["kl"]["mean"], radius)] if latent else [],
            content=checks["theorems"],
        ),
    ]


def _extremes(run: Path, pairs: Path, arrays: dict[str, Tensor]) -> list[Section]:
    """The pairs that the set holds worst, and the members farthest from their images."""
    if not pairs.is_file() or not (run / "set").is_dir():
        return []
    from augment import PairStore

    learned, store = LatentBall.load(run / "set"), PairStore(pairs, split="test")
    grids: list[Grid] = []
    for kind, drawn in (("worst", set_pictures.worst_pairs), ("farthest", set_pictures.farthest_members)):
        clean, changed = set_pictures.floats(store, arrays[f"{kind}_pairs"])
        grids.append(drawn(learned, clean, changed, arrays[f"{kind}_offsets"]))
    return [Section("extremes", "What the set holds worst, and where it goes farthest", grids=grids)]


def _figures(checks: dict[str, Any]) -> dict[str, Any]:
    """What the template shows of the criteria on one split."""
    return {
        "criteria": findings.criteria(checks),
        "necessary": checks["necessary"],
        "findings": checks["findings"],
        "radii": checks.get("radii", []),
    }
