from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from perturbsets.representations import active_overlap, sparsity_change

SETS = [  # active units of two images among 10, I / U
    ({0, 1, 2}, {0, 1, 2}, 1.0),
    ({0, 1, 2}, {3, 4}, 0.0),
    ({0, 1, 2, 3}, {2, 3, 4}, 2 / 5),
    (set(), {7}, 0.0),
    (set(range(10)), {9}, 1 / 10),
]


def features(units: list[set[int]]) -> Tensor:
    values = torch.tensor([[float(unit in active) for unit in range(10)] for active in units])
    return torch.where(values > 0, values + torch.arange(10), -values - 1)  # before a ReLU: others are below 0


@pytest.mark.parametrize("relu", [False, True])
def test_hand_made_sets_of_active_units(relu: bool) -> None:
    first, second = (features([row[side] for row in SETS]) for side in (0, 1))
    if relu:
        first, second = first.relu(), second.relu()
    change = torch.tensor([len(one) - len(other) for one, other, _ in SETS]).double() / 10

    assert_close(active_overlap(first, second), torch.tensor([share for *_, share in SETS]).double())
    assert_close(sparsity_change(first, second), change)


@given(seed=st.integers(0, 1000))
def test_both_agree_with_counting_by_sets_at_any_threshold(seed: int) -> None:
    first, second = torch.randn(2, 4, 40, generator=torch.Generator().manual_seed(seed))
    found, change = active_overlap(first, second, threshold=0.5), sparsity_change(first, second, threshold=0.5)

    for row in range(4):
        one, other = ({i for i, value in enumerate(side[row].tolist()) if value > 0.5} for side in (first, second))
        assert found[row].item() == len(one & other) / len(one | other)
        assert change[row].item() == pytest.approx((len(one) - len(other)) / 40, abs=1e-15)


def test_independent_halves_overlap_by_a_third(generator: torch.Generator) -> None:
    first, second = torch.randn(2, 1, 100_000, generator=generator)

    # Half of the units each: 1/4 in both, 3/4 in one of them; the standard error is 0.0016.
    assert abs(active_overlap(first, second).item() - 1 / 3) < 0.008


@pytest.mark.parametrize("measure", [sparsity_change, active_overlap])
def test_dead_layers_are_refused_by_row(measure: object) -> None:
    values = torch.rand(4, 6) + 0.1
    values[2] = 0

    with pytest.raises(ValueError, match=r"must have an active unit, above 0.0, got none in row 2: the layer is dead"):
        measure(values, values)  # type: ignore[operator]
    with pytest.raises(ValueError, match="must be finite"):
        measure(values, torch.where(values > 0, torch.inf, values))  # type: ignore[operator]
