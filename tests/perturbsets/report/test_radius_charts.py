from __future__ import annotations

from typing import Any

import torch

from perturbsets.certificates import coverage
from perturbsets.report.radius_charts import certified_chart, coverage_chart, necessary_chart
from perturbsets.report.representations import radius_chart


def share(value: float) -> dict[str, float | None]:
    return {"share": value, "share_low": 0.9 * value, "share_high": None}


def test_curve_tells_what_each_radius_leaves() -> None:
    curve = [
        {"radius": radius, "search": share(left), "mismatched_search": share(foreign)}
        for radius, left, foreign in ((1.0, 0.5, 0.7), (2.0, 0.0, 0.6))  # a logarithm would not take 0
    ]
    chart = necessary_chart(curve, 2.0)

    assert "1: 0.5 and 0.7; 2: 0 and 0.6" in chart.alt
    assert "<svg" in chart.svg


def test_coverage_is_drawn_in_the_unit_of_the_certificate() -> None:
    errors, sources = torch.linspace(0.001, 0.02, 60), torch.arange(60)
    absolute = coverage(errors, sources, share=0.8, alpha=0.05)
    relative = coverage(errors, sources, share=0.8, alpha=0.05, changes=torch.full_like(errors, 0.1))

    assert "mean squared error per pixel" in coverage_chart(absolute.errors, absolute.summary()).svg
    chart = coverage_chart(relative.errors, relative.summary())
    assert "squared change" in chart.svg
    assert relative.sentence in chart.alt
    assert "confidence 95%" in chart.caption


def test_coverage_without_a_tolerance_is_drawn_without_its_point() -> None:
    errors = torch.full((60,), torch.inf)
    errors[:20] = 0.01
    nothing = coverage(errors, torch.arange(60), share=0.8, alpha=0.05)

    assert nothing.summary()["tolerance"] is None
    assert "the certificate" not in coverage_chart(nothing.errors, nothing.summary()).svg


def test_votes_without_a_curve_are_left_out() -> None:
    point = {"radius": 0.0, "mean": 0.9, "low": 0.8, "high": 0.95}
    votes: dict[str, Any] = {"sure": {"curve": [point, {**point, "radius": 2.0, "mean": 0.0}]}, "maps": {"radius": 0.3}}
    chart = certified_chart(votes)

    assert chart is not None
    assert "sure 90.0% at radius 0, none beyond 2" in chart.alt
    assert "maps" not in chart.alt
    assert certified_chart({"maps": {"radius": 0.3}}) is None


def test_figures_without_an_interval_leave_a_gap_in_the_band() -> None:
    points = [
        {"radius": radius, "ratio": {"mean": 0.5, "low": low, "high": low}} for radius, low in ((0.1, None), (0.2, 0.4))
    ]
    nothing = {"share": 0.5, "share_low": None, "share_high": None}

    assert "<svg" in radius_chart({"layer": points}).svg
    assert "<svg" in necessary_chart([{"radius": 1.0, "search": nothing, "mismatched_search": nothing}], 1.0).svg
