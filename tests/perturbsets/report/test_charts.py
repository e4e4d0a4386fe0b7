from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
import torch
from PIL import Image

from perturbsets.report.charts import (
    _mean_curve,
    accuracy_chart,
    classifier_charts,
    errors_chart,
    fit_charts,
    norms_chart,
)
from perturbsets.report.drawing import COLOURS, LIGHT, Chart, themed
from perturbsets.report.radius_charts import theorem_chart

FIT = [{"step": 10 * n, "loss": -n / 10, "kl": 0.1, "scale": 0.2 / (n + 1)} for n in range(1, 20)] + [
    {"step": 100, "score": -1.0, "validation_kl": 0.1, "validation_scale": 0.05, "validation_error": 0.01}
]
TRAINED = {name: [[{"step": n, "loss": 1 / n, "accuracy": 0.5} for n in (1, 2, 3)]] for name in ("one", "two")}
CELL = {"mean": 0.5, "low": 0.25, "high": 0.75}
UNSURE = {"mean": 0.5, "low": None, "high": None}
TABLE = {
    "rows": ["one", "two"],
    "columns": ["clean", "attack"],
    "accuracy": {"one": {"clean": CELL, "attack": {**CELL, "mean": 0.3}}, "two": {"clean": CELL, "attack": UNSURE}},
}


@pytest.fixture(scope="module")
def drawn() -> list[Chart]:
    return [
        norms_chart(torch.rand(50) * 3, 3.0, 16),
        norms_chart(torch.rand(50), 1.0, None),
        errors_chart({"nearest": torch.rand(40), "exact": torch.zeros(40)}),
        *fit_charts(FIT),
        *classifier_charts(TRAINED, ["two", "one"]),
        accuracy_chart(TABLE),
        theorem_chart(),
        theorem_chart(4, 65.0, 8.5),
    ]


def test_charts_are_whole_and_need_nothing_from_elsewhere(drawn: list[Chart]) -> None:
    for chart in drawn:
        svg = ET.fromstring(chart.svg.replace("xlink:href", "href"))

        assert svg.tag.endswith("svg"), chart.name
        assert not re.search(r'href="(?!#)|<script|<style|@import', chart.svg), chart.name
        ids = set(re.findall(r'\bid="([^"]+)"', chart.svg))
        assert all(name.startswith(f"{chart.name}-") for name in ids)
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', chart.svg)) <= {
            pair for name in ids for pair in ((name, ""), ("", name))
        }
        assert Image.open(io.BytesIO(chart.png)).size[0] > 500, chart.name
        assert chart.alt
        assert chart.title


def test_charts_follow_the_scheme_of_the_page(drawn: list[Chart]) -> None:
    for chart in drawn:
        assert not [light for light in LIGHT.values() if light in chart.svg], chart.name
        assert set(re.findall(r"var\(--(\w+)\)", chart.svg)) <= set(COLOURS), chart.name


def test_light_colours_are_all_different() -> None:
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert themed(f"fill: {LIGHT['accent']}") == "fill: var(--accent)"


def test_the_same_numbers_give_the_same_chart_and_leave_settings_alone() -> None:
    before = dict(mpl.rcParams)
    first, second = (accuracy_chart(TABLE) for _ in range(2))

    assert first.svg == second.svg
    assert first.png == second.png
    assert dict(mpl.rcParams) == before


def test_descriptions_hold_the_figures() -> None:
    norms = torch.tensor([1.0, 2.0, 3.0, 4.0])
    chart = norms_chart(norms, 3.0, 16)
    assert "75.0% lie within the radius" in chart.caption
    assert "from 1.00 to 4.00, median 2.00; the radius is 3.00" in chart.alt
    assert "attack: 30% (one) to 50% (two)" in accuracy_chart(TABLE).alt
    assert "half of the mass outside: paper's form 32.5, lemma 11.1" in theorem_chart(16, 20.0).alt
    assert "exact 0" in errors_chart({"exact": torch.zeros(5)}).alt


def test_curves_are_means_over_seeds_at_common_steps_smoothed_backwards() -> None:
    runs = [
        [{"step": step, "loss": float(value)} for step, value in enumerate(values)]
        for values in ([1, 3, 5, 7, 9, 11, 13], [3, 5, 7, 9, 11, 13])
    ]
    steps, values = _mean_curve(runs, "loss")

    assert steps == [0, 1, 2, 3, 4, 5]
    assert values == [2, 3, 4, 5, 6, 8]  # from the sixth on, the first falls out of the window


def test_curves_without_records_are_left_out() -> None:
    assert fit_charts([]) == []
    assert classifier_charts({}, []) == []
    assert [chart.name for chart in fit_charts(FIT[:3])] == ["fit-score", "fit-kl", "fit-scale"]
