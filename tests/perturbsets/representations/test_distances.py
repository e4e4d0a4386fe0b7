from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from augment import Digits
from perturbsets.representations import (
    MemoryBank,
    distance_ratio,
    nearest_in_class,
    relative_distance,
    spread_in_class,
)
from perturbsets.representations import bank as bank_module


@pytest.fixture
def bank(generator: torch.Generator) -> MemoryBank:
    """90 points of three classes, their labels in no order; none of class 1."""
    labels = torch.tensor([4, 0, 9]).repeat(30)[torch.randperm(90, generator=generator)]
    return MemoryBank({"fc": torch.randn(90, 6, generator=generator)}, labels)


def test_ratios_of_points_on_a_line() -> None:
    source, guide = torch.zeros(3, 2), torch.tensor([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])
    adversary, double = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]), torch.float64
    scales = [torch.tensor(each, dtype=double) for each in ([1.0, 4.0, 0.5], [2.0, 1.0, 4.0])]

    assert_close(distance_ratio(adversary, guide, source), torch.tensor([0.0, 1.0, 2.0], dtype=double))
    assert_close(relative_distance(adversary, guide, scales[0]), torch.tensor([0.0, 0.5, 4.0], dtype=double))
    assert_close(relative_distance(adversary, source, scales[1]), torch.tensor([2.5, 0.0, 0.25], dtype=double))


def test_half_precision_loses_no_distance() -> None:
    far = torch.full((1, 64), 2e4, dtype=torch.float16)  # whose square is beyond the type
    assert distance_ratio(far / 2, torch.zeros_like(far), far).item() == 0.5


@pytest.mark.parametrize("size", [1, 7, 2048])
def test_means_within_classes_are_those_of_whole_matrices(
    bank: MemoryBank, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "BLOCK_ROWS", size)
    features, classes = bank.features("fc", torch.arange(90)).double(), torch.tensor([9, 4, 9, 0])
    expected = {}
    for label in (0, 4, 9):
        some = features[bank.labels == label]
        distances = torch.cdist(some, some, compute_mode="donot_use_mm_for_euclid_dist")
        off = ~torch.eye(len(some), dtype=torch.bool)
        expected[label] = (distances.where(off, torch.inf).amin(1).mean(), distances[off].mean())

    nearest, spread = nearest_in_class(bank, "fc", classes), spread_in_class(bank, "fc", classes)

    assert_close(nearest, torch.stack([expected[label][0] for label in classes.tolist()]), rtol=1e-12, atol=0.0)
    assert_close(spread, torch.stack([expected[label][1] for label in classes.tolist()]), rtol=1e-9, atol=0.0)


def test_digits_are_nearer_to_their_neighbours_than_to_their_class() -> None:
    digits = Digits("test")
    bank = MemoryBank({"pixels": digits.images.flatten(1)}, digits.labels, digits.classes)

    nearest, spread = (mean(bank, "pixels", torch.arange(10)) for mean in (nearest_in_class, spread_in_class))

    assert bool((nearest < 0.8 * spread).all())


def test_a_class_far_from_the_origin_has_the_same_spread(generator: torch.Generator) -> None:
    points = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    labels = torch.zeros(50, dtype=torch.int64)
    plain, moved = (MemoryBank({"fc": points + shift}, labels) for shift in (0.0, 2.0**20))

    for mean in (nearest_in_class, spread_in_class):
        assert_close(mean(moved, "fc", labels[:1]), mean(plain, "fc", labels[:1]), rtol=1e-8, atol=0.0)


def test_a_class_of_copies_has_no_spread_to_compare_with() -> None:
    bank = MemoryBank({"fc": torch.full((5, 3), 0.1)}, torch.zeros(5, dtype=torch.int64))
    points, label = torch.rand(1, 3), torch.tensor([0])

    for mean in (nearest_in_class, spread_in_class):
        assert mean(bank, "fc", label).tolist() == [0.0]
        with pytest.raises(ValueError, match=r"must be above 0, got 0 for image 0: .* copies"):
            relative_distance(points, points + 1, mean(bank, "fc", label))


@pytest.mark.parametrize("mean", [nearest_in_class, spread_in_class])
def test_a_class_without_two_images_is_refused_by_name(mean: object) -> None:
    bank = MemoryBank({"fc": torch.rand(3, 2)}, torch.tensor([2, 0, 2]), ("ant", "bee", "cow"))

    with pytest.raises(ValueError, match=r"class 0 \(ant\) must have at least 2 images in the bank, got 1"):
        mean(bank, "fc", torch.tensor([2, 0]))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"class 1 \(bee\) must have at least 2 images in the bank, got 0"):
        mean(bank, "fc", torch.tensor([1]))  # type: ignore[operator]


def test_what_has_no_ratio_is_refused() -> None:
    points = torch.rand(3, 2)
    same = torch.cat([points[:1] + 1, points[1:]])

    with pytest.raises(ValueError, match=r"source and guide must have different features, .* rows 1, 2: "):
        distance_ratio(points, same, points)
    with pytest.raises(ValueError, match=r"features must be finite, .* row 2$"):
        distance_ratio(points.index_fill(0, torch.tensor(2), torch.nan), points + 1, points)
    with pytest.raises(ValueError, match=r"features must be of one shape, got \[3, 2\] and \[1, 2\]"):
        relative_distance(points, points[:1], torch.ones(3))
    with pytest.raises(ValueError, match="scale must be one mean for each of 3 images"):
        relative_distance(points, points, torch.ones(1))
    with pytest.raises(ValueError, match="scale must be above 0, got nan for image 1"):
        relative_distance(points, points, torch.tensor([1.0, torch.nan, 0.0]))
