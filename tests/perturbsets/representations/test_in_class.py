from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from perturbsets.representations import MemoryBank, nearest_in_predicted_class, neighbours_in_class
from perturbsets.representations import bank as bank_module


@pytest.fixture
def bank(generator: torch.Generator) -> MemoryBank:
    return MemoryBank({"fc": torch.randn(80, 3, generator=generator)}, torch.randint(4, (80,), generator=generator))


@pytest.mark.parametrize("size", [1, 7, 2048])
def test_each_point_is_searched_for_in_its_class(
    bank: MemoryBank, size: int, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(bank_module, "BLOCK_ROWS", size)
    points, classes = torch.randn(9, 3, generator=generator), torch.tensor([2, 0, 0, 3, 2, 1, 1, 0, 3])
    every = bank.features("fc", torch.arange(80))
    distances = torch.cdist(points, every, compute_mode="donot_use_mm_for_euclid_dist")
    inside = distances.where(bank.labels == classes[:, None], torch.inf)

    found = neighbours_in_class(points, classes, bank, "fc", 4)
    nearest = nearest_in_predicted_class(points, classes, bank, "fc")

    expected = inside.topk(4, largest=False)
    assert torch.equal(found.rows, expected.indices)
    assert_close(found.distances, expected.values)
    assert torch.equal(nearest, expected.indices[:, 0])
    second = nearest_in_predicted_class(points, classes, bank, "fc", exclude=nearest)
    assert torch.equal(second, expected.indices[:, 1])


def test_an_excluded_row_counts_only_where_it_is_in_the_class() -> None:
    bank = MemoryBank({"fc": torch.rand(5, 2)}, torch.tensor([0, 0, 1, 1, 1]))
    point, label = torch.rand(1, 2), torch.tensor([0])

    assert neighbours_in_class(point, label, bank, "fc", 2, exclude=torch.tensor([4])).rows.sort().values.tolist() == [
        [0, 1]
    ]
    with pytest.raises(ValueError, match="class 0 must have at least 3 images in the bank, got 2"):
        neighbours_in_class(point, label, bank, "fc", 2, exclude=torch.tensor([1]))


def test_a_predicted_class_that_the_bank_lacks_is_refused(bank: MemoryBank) -> None:
    with pytest.raises(ValueError, match="class 17 must have at least 1 images in the bank, got 0"):
        nearest_in_predicted_class(torch.rand(1, 3), torch.tensor([17]), bank, "fc")
    with pytest.raises(ValueError, match="exclude must give a row for each of 1 points"):
        nearest_in_predicted_class(torch.rand(1, 3), torch.tensor([0]), bank, "fc", exclude=torch.tensor([0, 1]))


def test_no_points_have_no_neighbours(bank: MemoryBank) -> None:
    none = torch.zeros(0, dtype=torch.int64)

    assert neighbours_in_class(torch.zeros(0, 3), none, bank, "fc", 2).rows.shape == (0, 2)
    assert nearest_in_predicted_class(torch.zeros(0, 3), none, bank, "fc").shape == (0,)
