"""The verdict on sets made good and bad on purpose, from the figures that `tests/benchmarks/verdicts.py` stored."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from perturbsets.criteria.fitted import fitted_figures
from perturbsets.criteria.verdict import GRADES, Advice, judge
from perturbsets.report.console import verdict_box
from perturbsets.report.findings import key_figures
from tests.perturbsets.criteria_sets import ClosedForm, light, light_of

STORED: dict[str, Any] = json.loads((Path(__file__).parent / "verdict_summaries.json").read_text())


@pytest.fixture
def good() -> dict[str, Any]:
    """The figures of a good set."""
    return copy.deepcopy(STORED["rotation"]["checks"])


def put(checks: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    inner = checks
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return checks


@pytest.mark.parametrize("name", STORED)
def test_sets_are_judged_as_they_were_made(name: str) -> None:
    entry = STORED[name]

    verdict = judge(entry["checks"])

    assert verdict.grade in entry["grades"]
    assert 1 <= len(verdict.reasons) <= 3
    assert (verdict.advice == ()) == (verdict.grade == "good")
    assert not entry["knobs"] or verdict.advice[0].knob in entry["knobs"]


def test_at_least_twelve_sets_and_all_grades_are_stored() -> None:
    assert len(STORED) >= 12
    assert {judge(entry["checks"]).grade for entry in STORED.values()} == set(GRADES)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("necessary.search.share", (0.01, 0.1, 0.34)),
        ("necessary.copied.mean", (0.0, 0.1, 0.4)),
        ("necessary.sources", (29, 12, 4)),
        ("overapproximation.reach.ratio", (2.0, 9.0, 36.0)),
        ("overapproximation.sampled.ratio", (0.9, 0.4, 0.1)),
        ("quality.precision.mean", (0.9, 0.5, 0.2)),
        ("quality.recall.mean", (0.9, 0.5, 0.2)),
        ("radius.sources", (300, 20, 3)),
        ("radius.value", (4.0, 9.0, 24.6)),
    ],
)
def test_each_figure_alone_decides(good: dict[str, Any], path: str, values: tuple[float, ...]) -> None:
    judged = [judge(put(good, path, value)) for value in values]

    assert [verdict.grade for verdict in judged] == list(GRADES)
    assert all(len(verdict.reasons) == 1 for verdict in judged[1:])
    assert all(verdict.advice for verdict in judged[1:])


def test_what_was_not_measured_does_not_count(good: dict[str, Any]) -> None:
    for name in ("radius", "fitted", "quality"):
        del good[name]

    assert judge(put(good, "sufficient.bits_per_pixel.trusted", True)).grade == "good"
    assert judge(put(good, "sufficient.bits_per_pixel.trusted", False)).advice[0].knob == "draws"
    assert judge(put(good, "necessary.search.share", 0.5)).grade == "not good"


def test_a_given_radius_needs_no_sources(good: dict[str, Any]) -> None:
    put(put(good, "radius.sources", 2), "radius.quantile", None)

    assert judge(good).grade == "good"


def test_an_error_names_the_criterion_that_lacks(good: dict[str, Any]) -> None:
    del good["overapproximation"]

    with pytest.raises(ValueError, match="without 'overapproximation'"):
        judge(good)


def test_figures_that_are_not_to_be_trusted_are_marked(good: dict[str, Any]) -> None:
    assert "radius" not in judge(good).marks

    put(put(put(good, "necessary.sources", 12), "radius.value", 24.6), "sufficient.bits_per_pixel.trusted", False)
    marks = judge(good).marks

    assert marks["nearest member"] == marks["mismatched"] == "12 independent sources judge it, which are few"
    assert "within 5.1" in marks["radius"]  # of a chi distribution with 8 degrees, 99.9 % are below 5.11
    assert set(marks) == {"nearest member", "mismatched", "bits per pixel", "radius"}


def test_the_worst_figure_is_advised_on_first(good: dict[str, Any]) -> None:
    put(put(good, "necessary.search.share", 0.1), "overapproximation.reach.ratio", 36.0)

    assert [reason.name for reason in judge(good).reasons] == ["reach", "left"]
    assert judge(good).advice[0].knob == "quantile"


def test_console_and_cards_show_verdict_and_marks(good: dict[str, Any]) -> None:
    put(put(good, "necessary.sources", 12), "necessary.search.share", 0.34)
    for entry in (good["necessary"]["search"], good["necessary"]["mismatched_search"]):
        entry |= {"share_low": 0.3, "share_high": 0.4}
    good["necessary"]["pairs"] = 24
    good["sufficient"]["bits_per_pixel"] |= {"trusted": False, "at_least": 1.0}
    good["verdict"] = judge(good).summary()
    console = Console(record=True, width=300, quiet=False)

    console.print(verdict_box(good))

    text = console.export_text()
    for part in (
        "The set is not good",
        "the nearest member leaves 34.00% of the change",
        "→ ",
        "34.0% (not to be trusted)",
    ):
        assert part in text
    cards = {figure.label: figure.mark for figure in key_figures(good, None)}
    assert "12 independent sources" in cards["error of the nearest member"]
    assert cards["radius"] == ""


def test_fitted_figures_count_used_latents_and_late_progress() -> None:
    model = ClosedForm(3, light, lambda x, y: torch.cat([light_of(x, y), torch.zeros(len(x), 1)], 1))
    clean = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    latents = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    pairs = Memory(clean, light(clean, latents))

    figures = fitted_figures(model, pairs, [{"validation_error": error} for error in (8.0, 4.0, 2.0, 1.0)])

    assert figures["share"] == pytest.approx(0, abs=1e-6)
    assert (figures["latent"], figures["used"], figures["pairs"], figures["sources"]) == (3, 2, 40, 20)
    assert figures["falling"] == 0.5
    assert fitted_figures(model, pairs)["falling"] is None


def test_every_knob_is_explained(root: Path) -> None:
    page = (root / "perturbsets" / "docs" / "not-good.md").read_text()
    knobs = re.findall(r'``"(\w+)"``', str(Advice.__doc__))

    assert len(knobs) == 8
    assert set(knobs) == set(re.findall(r"\| \*\*(\w+)\*\* \|", page))


class Memory:
    """Pairs in memory, two of each source."""

    def __init__(self, clean: torch.Tensor, changed: torch.Tensor) -> None:
        self.clean, self.changed = clean, changed

    def __len__(self) -> int:
        return len(self.clean)

    def batch(self, indices: Any) -> tuple[torch.Tensor, ...]:
        rows = torch.as_tensor(indices)
        return self.clean[rows], self.changed[rows], rows // 2, torch.full_like(rows, -1)
