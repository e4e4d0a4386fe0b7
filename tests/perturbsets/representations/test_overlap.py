from __future__ import annotations

import pytest
import torch

from perturbsets.intervals import share_interval
from perturbsets.representations import nearest_neighbours, neighbour_overlap, overlap_share


def test_common_neighbours_of_hand_made_rows() -> None:
    first = torch.tensor([[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3], [0, 5, 9]])
    second = torch.tensor([[3, 1, 2], [3, 9, 2], [7, 8, 1], [7, 8, 9], [9, 0, 5]])

    counts = neighbour_overlap(first, second)

    assert counts.tolist() == [3, 2, 1, 0, 3]
    assert overlap_share(counts, 3) == share_interval(torch.arange(5) < 2)
    assert overlap_share(counts, 2) == share_interval(torch.arange(5) < 3)


def test_counts_are_sizes_of_intersections(generator: torch.Generator) -> None:
    first, second = (torch.rand(40, 12, generator=generator).argsort(1)[:, :5] for _ in range(2))

    expected = [len(set(one) & set(other)) for one, other in zip(first.tolist(), second.tolist(), strict=True)]
    assert neighbour_overlap(first, second).tolist() == expected


def test_an_adversary_at_its_guide_has_all_its_neighbours(generator: torch.Generator) -> None:
    reference, guide_rows = torch.randn(50, 4, generator=generator), torch.tensor([3, 30])
    guides = reference[guide_rows]

    found = [nearest_neighbours(points, reference, 3, exclude=guide_rows).rows for points in (guides + 1e-6, guides)]

    assert neighbour_overlap(*found).tolist() == [3, 3]
    assert not bool((found[0] == guide_rows[:, None]).any())


def test_what_cannot_be_counted_is_refused() -> None:
    rows = torch.tensor([[1, 2, 3]])

    with pytest.raises(ValueError, match=r"of one shape, got \[1, 3\] and \[1, 2\]"):
        neighbour_overlap(rows, rows[:, :2])
    with pytest.raises(ValueError, match="second must hold different rows"):
        neighbour_overlap(rows, torch.tensor([[1, 2, 1]]))
    with pytest.raises(ValueError, match="at least one pair"):
        overlap_share(torch.zeros(0, dtype=torch.int64), 2)
