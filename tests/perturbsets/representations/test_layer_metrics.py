"""All measures at once: they are the measures one by one, in any number of pairs at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from perturbsets.representations import (
    LayerMetrics,
    MemoryBank,
    active_overlap,
    distance_ratio,
    layer_metrics,
    nearest_in_class,
    nearest_neighbours,
    neighbour_overlap,
    rank_in_class,
    relative_distance,
    sparsity_change,
    spread_in_class,
)

WIDTH, CLASSES = 24, 3


@pytest.fixture
def bank() -> MemoryBank:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(150) % CLASSES
    centres = 3 * torch.rand(CLASSES, WIDTH, generator=draw)
    return MemoryBank({"fc": (centres[labels] + torch.randn(150, WIDTH, generator=draw)).relu()}, labels)


@pytest.fixture
def points(bank: MemoryBank) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    guides, sources = torch.arange(7), torch.arange(10, 17)
    guide, source = bank.features("fc", guides), bank.features("fc", sources)
    return {
        "adversary": (0.3 * source + 0.7 * guide + 0.1 * torch.randn(7, WIDTH, generator=draw)).relu(),
        "source": source,
        "guide": guide,
        "source_classes": bank.labels[sources],
        "guide_classes": bank.labels[guides],
        "exclude": guides,
    }


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_the_measures_are_those_one_by_one(bank: MemoryBank, points: dict[str, Any]) -> None:
    found = LayerMetrics(bank, "fc").describe(**points, generator=generator())
    alpha, guide, source = points["adversary"], points["guide"], points["source"]
    classes, exclude = points["guide_classes"], points["exclude"]
    near = [nearest_neighbours(some, bank.blocks("fc"), 3, exclude=exclude).rows for some in (alpha, guide)]
    ranks = [rank_in_class(some, classes, bank, "fc", exclude=exclude) for some in (alpha, guide)]

    assert found.ratio is not None
    assert_close(found.ratio, distance_ratio(alpha, guide, source))
    assert_close(found.guide_ratio, relative_distance(alpha, guide, nearest_in_class(bank, "fc", classes)))
    spread = spread_in_class(bank, "fc", points["source_classes"])
    assert_close(found.source_ratio, relative_distance(alpha, source, spread))
    assert torch.equal(found.shared, neighbour_overlap(*near))
    assert_close(found.rank_change, ranks[0] - ranks[1])
    assert_close(found.sparsity_change, sparsity_change(alpha, source))
    assert_close(found.source_overlap, active_overlap(alpha, source))
    assert_close(found.guide_overlap, active_overlap(alpha, guide))
    shapes = {"adversary": (7, 1), "random": (7, 1), "close": (7, 5), "far": (7, 10)}
    for measure, most in ((found.drop, 0.0), (found.consistency, 1.0)):
        assert {name: tuple(values.shape) for name, values in measure.items()} == shapes
        assert all(bool((values <= most).all()) for values in measure.values())
    assert float(found.drop["close"].median()) > float(found.drop["far"].median())


@pytest.mark.parametrize("together", [1, 3, 100])
def test_any_number_of_pairs_at_a_time_gives_the_same(
    together: int, bank: MemoryBank, points: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LayerMetrics(bank, "fc").describe(**points, generator=generator())
    monkeypatch.setattr(layer_metrics, "TOGETHER", together)
    parts = LayerMetrics(bank, "fc").describe(**points, generator=generator())

    assert parts.dimension == whole.dimension
    for name in ("drop", "consistency"):
        for kind, values in getattr(whole, name).items():
            assert_close(getattr(parts, name)[kind], values)


def test_a_random_point_is_as_far_away(bank: MemoryBank, points: dict[str, Any]) -> None:
    random = layer_metrics._random_points(points["adversary"], points["guide"], generator())
    distances = [(some - points["guide"]).norm(dim=1) for some in (random, points["adversary"])]
    assert_close(distances[0], distances[1])


def test_what_classes_have_in_common_is_measured_once(
    bank: MemoryBank, points: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    measure = layer_metrics.pair_distance

    def counted(bank: Any, layer: str, label: int) -> float:
        asked.append(label)
        return measure(bank, layer, label)

    monkeypatch.setattr(layer_metrics, "pair_distance", counted)
    natural = LayerMetrics(bank, "fc")
    first, second = (natural.describe(**points, dimension=2, generator=generator()) for _ in range(2))
    assert sorted(asked) == sorted(set(points["source_classes"].tolist()))
    assert_close(first.source_ratio, second.source_ratio)
    assert first.held_out is None
    assert first.dimension == 2


def test_points_without_a_guide_have_a_neighbour_of_their_own(bank: MemoryBank, points: dict[str, Any]) -> None:
    near = points["guide"] * 1.001  # each point's nearest image is the guide itself
    found = LayerMetrics(bank, "fc").describe_alone(
        near, points["source"], points["source_classes"], points["guide_classes"], generator=generator()
    )
    whole = LayerMetrics(bank, "fc").describe(**{**points, "adversary": near}, generator=generator())
    assert found.ratio is None
    assert "ratio" not in found.summary()
    assert_close(found.drop["adversary"], whole.drop["adversary"])
    assert_close(found.rank_change, whole.rank_change)


def test_a_copy_of_a_natural_image_is_described(bank: MemoryBank, points: dict[str, Any]) -> None:
    found = LayerMetrics(bank, "fc").describe_alone(
        points["guide"], points["guide"], points["guide_classes"], points["guide_classes"], generator=generator()
    )
    assert bool((found.drop["adversary"] == 0).all())
    assert bool((found.source_ratio == 0).all())


def test_the_summary_is_plain(bank: MemoryBank, points: dict[str, Any]) -> None:
    import json

    summary = LayerMetrics(bank, "fc").describe(**points, generator=generator()).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert 0 <= summary["neighbours"]["three"]["mean"] <= summary["neighbours"]["two"]["mean"] <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "guide"}, "source and guide must have different features, got equal ones in rows"),
        ({"adversary": "none"}, "must have an active unit"),
    ],
)
def test_what_cannot_be_described_is_refused(
    change: dict[str, str], message: str, bank: MemoryBank, points: dict[str, Any]
) -> None:
    for key, value in change.items():
        points[key] = torch.zeros_like(points[key]) if value == "none" else points[value]
    if "adversary" in change:
        points["source"] = torch.zeros_like(points["source"])
    with pytest.raises(ValueError, match=message):
        LayerMetrics(bank, "fc").describe(**points, generator=generator())


def test_small_banks_are_refused(bank: MemoryBank, points: dict[str, Any]) -> None:
    rows = torch.arange(45)
    few = MemoryBank({"fc": bank.features("fc", rows)}, bank.labels[rows])
    with pytest.raises(ValueError, match="at least 50 images"):
        LayerMetrics(few, "fc").describe(**points, generator=generator())
    labels = torch.cat([torch.zeros(147), torch.ones(3)]).long()
    lone = LayerMetrics(MemoryBank({"fc": bank.features("fc", torch.arange(150))}, labels), "fc")
    with pytest.raises(ValueError, match="class 1 must have at least 4 images"):
        lone.describe(**points | {"guide_classes": torch.ones(7, dtype=torch.int64)})
