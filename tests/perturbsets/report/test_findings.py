from __future__ import annotations

from typing import Any

import pytest

from perturbsets.report.criteria import criteria
from perturbsets.report.findings import (
    headline_attack,
    images,
    key_figures,
    likelihood,
    percent,
    sample_note,
    summary,
    with_interval,
)


def entry(share: float) -> dict[str, float]:
    return {
        **{"mean": share / 10, "low": share / 11, "high": share / 9, "median": 0.1, "q95": 0.2, "max": 0.3},
        **{"share": share, "share_low": 0.9 * share, "share_high": 1.1 * share},
        **{"above_floor": share / 2, "above_floor_low": share / 3, "above_floor_high": share},
    }


@pytest.fixture
def checks() -> dict[str, Any]:
    errors = ("identity", "reconstruction", "encoding", "search", "mismatched_identity", "mismatched_search")
    shares = (1.0, 0.002, 0.003, 0.0004, 1.0, 0.32)
    return {
        "radius": {"value": 8.25, "quantile": 1.0, "pairs": 1200},
        "necessary": {"pairs": 400, "sources": 100, **{n: entry(s) for n, s in zip(errors, shares, strict=True)}},
        "sufficient": {
            "bits_per_pixel": {"mean": 4.321, "low": 4.2, "high": 4.4, "at_least": 4.319, "trusted": False},
            "effective_sample_size": 7.5,
            "draws": 16,
            "measure": "density of images on [0, 1]",
            "warning": "Not to be trusted.",
        },
        "overapproximation": {
            **{
                n: {"ratio": r, "ratio_low": 0.9 * r, "ratio_high": 1.1 * r}
                for n, r in (("reach", 2.8), ("sampled", 1.0))
            },
            "diversity": {"ratio": None},
            "labels": {
                "classifier": "sure",
                **{n: {"mean": m} for n, m in (("clean", 0.94), ("changed", 0.89), ("samples", 0.87), ("worst", 0.1))},
            },
        },
        "approximation": {"mean": 0.05, "low": 0.04, "high": 0.06, "share": 0.8},
    }


@pytest.fixture
def evaluation() -> dict[str, Any]:
    means = {"plain": (0.95, 0.2, 0.01), "robust": (0.9, 0.85, 0.02)}
    columns = ["clean", "moved", "noise"]
    return {
        "images": 300,
        "seeds": [0, 1],
        "rows": list(means),
        "columns": columns,
        "accuracy": {
            row: {column: {"mean": m, "low": m - 0.01, "high": m + 0.01} for column, m in zip(columns, ms, strict=True)}
            for row, ms in means.items()
        },
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "0.04%"), (0.0099, "0.99%"), (0.01, "1.0%"), (0.32, "32.0%"), (0.0, "0.00%"), (1.22e-5, "0.001%")],
)
def test_small_shares_keep_a_digit(value: float, text: str) -> None:
    assert percent(value) == text


def test_the_headline_attack_separates_classifiers_most(evaluation: dict[str, Any]) -> None:
    assert headline_attack(evaluation) == "moved"
    assert headline_attack({**evaluation, "columns": ["clean"]}) is None


def test_the_summary_tells_what_was_measured(checks: dict[str, Any], evaluation: dict[str, Any]) -> None:
    text = summary(checks, evaluation, {"seed": 7})

    for part in ("400 held-out pairs of 100 source images", "0.04%", "32.0%", "Seed 7."):
        assert part in text
    assert "Accuracies differ most under moved: on 300 test images plain has 20.0% [19.0%, 21.0%]" in text
    assert "robust 85.0% [84.0%, 86.0%]" in text
    assert len(summary(None, None, {})) < len(text)


def test_key_figures_are_those_of_the_checks_and_the_table(checks: dict[str, Any], evaluation: dict[str, Any]) -> None:
    figures = {figure.label: figure for figure in key_figures(checks, evaluation)}

    assert figures["error of the nearest member"].value == "0.04%"
    assert figures["on mismatched pairs"].value == "32.0%"
    assert figures["bits per pixel"].value == "≥ 4.31"
    assert figures["radius"].value == "8.25"
    assert "400 pairs" in figures["bits per pixel"].detail
    assert figures["best accuracy under moved"].value == "85.0%"
    assert key_figures(None, None) == []


def test_every_criterion_has_its_figure_interval_and_meaning(checks: dict[str, Any]) -> None:
    found = criteria(checks)

    assert [item.value for item in found] == ["0.04%", "32.0%", "≥ 4.31 bits", "80.0%", "2.80 ×", "–"]
    assert found[0].interval == "0.04% to 0.04%"
    assert "relative to the clean image's: 0.02%." in found[0].meaning
    assert "16 draws" in found[2].meaning
    assert found[2].meaning.endswith("Not to be trusted.")
    assert (
        "classifier sure: 94.0% on clean images, 89.0% on real changes, 87.0% on samples, 10.0% in the worst case"
        in found[4].meaning
    )
    assert found[5].interval == "no source has several real changes"
    assert all(item.question.endswith("?") and item.meaning for item in found)


def test_offset_zero_is_reported_where_it_was_measured(checks: dict[str, Any]) -> None:
    before = criteria(checks)  # of a run of a former version
    checks["necessary"] |= {"centre": entry(0.12), "centre_largest": entry(5.0)}
    added = [item for item in criteria(checks) if item not in before]

    assert [item.name for item in added] == ["Offset 0"]
    assert added[0].value == "12.0%"
    assert (
        "mean 0.012, 95 % of pairs at most 0.2. The largest difference of a pixel is 0.5 on average" in added[0].meaning
    )
    assert "not x itself" in added[0].meaning


def test_likelihoods_are_printed_with_what_they_are_worth(checks: dict[str, Any]) -> None:
    value, interval = likelihood(checks["sufficient"])
    assert value == "≥ 4.31"  # rounded down: 4.32 would be no lower bound
    assert "not to be trusted" in interval
    shown = {figure.label: figure for figure in key_figures(checks, None)}["bits per pixel"]
    assert shown.value == value
    assert "not to be trusted" in shown.detail
    said = {item.name: item for item in criteria(checks)}["Sufficient likelihood property"]
    assert said.value == "≥ 4.31 bits"
    assert "Not to be trusted." in said.meaning

    checks["sufficient"]["bits_per_pixel"]["trusted"] = True
    assert likelihood(checks["sufficient"]) == ("4.32", "4.20 to 4.40")


def without_intervals(content: Any) -> Any:
    """The same figures where the data cannot tell how others would differ."""
    if isinstance(content, dict):
        return {
            key: None if key.endswith(("low", "high")) else without_intervals(value) for key, value in content.items()
        }
    return content


def test_a_dash_stands_where_there_is_no_interval(checks: dict[str, Any], evaluation: dict[str, Any]) -> None:
    found, judged = without_intervals(checks), without_intervals(evaluation)
    found["sufficient"]["bits_per_pixel"]["trusted"] = True

    assert with_interval({"mean": 0.5, "low": None, "high": None}) == "50.0% [–]"
    details = {figure.label: figure.detail for figure in key_figures(found, judged, None)}
    assert details["error of the nearest member"] == "–; 400 pairs, 100 sources"
    assert details["best accuracy under moved"] == "–; 300 images, seeds 0, 1"
    assert {row.interval for row in criteria(found) if row.name in ("Reach", "Approximation")} <= {"–", "– per pixel"}
    assert "95 % interval –" in summary(found, judged, {})


def test_notes_tell_how_many_images_are_independent(evaluation: dict[str, Any]) -> None:
    assert images(evaluation) == "300 images"
    assert images({"images": 1550, "independent": 22}, "patches") == "1,550 patches of 22 independent units"
    assert "300 test images of 12 independent units, seeds 0, 1" in sample_note({**evaluation, "independent": 12})
