from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from perturbsets import LatentBall, radius_from_pairs
from perturbsets.criteria import Grouping, encodings, radius_by_group
from perturbsets.criteria.figures import holding
from tests.perturbsets.criteria_sets import LightPairs, honest


@pytest.fixture
def pairs(memory_pairs: Any) -> Any:
    clean = torch.rand(300, 1, 2, 3)  # more than one batch
    return memory_pairs(clean, (clean + 0.2 * torch.randn(300, 1, 2, 3)).clamp(0, 1), torch.arange(300))


def test_encodings_are_the_shift_of_the_means_in_prior_scales(linear_cvae: Any, pairs: Any) -> None:
    model = linear_cvae()
    prior = model.prior(model.context(pairs.clean))
    posterior = model.recognition(pairs.clean, pairs.changed)
    given = encodings(model, pairs)

    assert_close(given, ((posterior.mean - prior.mean) / prior.log_scale.exp()).detach())
    assert not given.requires_grad
    assert_close(given, LatentBall(model, 1.0).at(pairs.clean).encode(pairs.changed))


@pytest.mark.parametrize("quantile", [1.0, 0.95, 0.9, 0.5, 1e-3])
def test_radius_is_the_smallest_norm_that_holds_the_share(linear_cvae: Any, pairs: Any, quantile: float) -> None:
    model = linear_cvae()
    norms = encodings(model, pairs).norm(dim=1).double()
    radius = radius_from_pairs(model, pairs, quantile=quantile)

    assert radius in norms
    assert (norms <= radius).double().mean() >= quantile
    assert (norms < radius).double().mean() < quantile


@given(values=st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=200), quantile=st.floats(1e-3, 1.0))
def test_order_statistics_hold_the_share_and_no_smaller_value_does(values: list[float], quantile: float) -> None:
    every, found = np.array(values), holding(torch.tensor(values), quantile)

    assert found in every
    assert (every <= found).mean() >= quantile - 1e-12
    assert (every < found).mean() < quantile + 1e-12


def test_ten_norms_hold_what_was_asked_for() -> None:
    norms = torch.arange(1.0, 11)
    assert [holding(norms, share) for share in (0.95, 0.91, 0.9, 0.5, 0.1, 0.01, 1.0)] == [10, 10, 9, 5, 1, 1, 10]


@pytest.mark.parametrize("quantile", [0.0, -0.1, 1.01, math.nan])
def test_impossible_quantiles_are_refused(linear_cvae: Any, pairs: Any, quantile: float) -> None:
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\]"):
        radius_from_pairs(linear_cvae(), pairs, quantile=quantile)


def test_missing_pairs_and_broken_models_are_refused(linear_cvae: Any, pairs: Any, memory_pairs: Any) -> None:
    empty = memory_pairs(pairs.clean[:0], pairs.changed[:0], pairs.source[:0])
    with pytest.raises(ValueError, match="at least one pair"):
        radius_from_pairs(linear_cvae(), empty)
    model = linear_cvae()
    with torch.no_grad():
        model._recognition[1].weight.fill_(math.nan)
    with pytest.raises(ValueError, match="finite encodings"):
        encodings(model, pairs)


@pytest.mark.parametrize("quantile", [1.0, 0.5])
def test_each_group_has_the_quantile_of_its_own_norms(quantile: float) -> None:
    pairs, model = LightPairs(), honest()
    norms = encodings(model, pairs).norm(dim=1).numpy()
    found = radius_by_group(model, pairs, quantile=quantile)

    assert sorted(found) == ["class", "condition", "severity"]
    for number, name in enumerate(pairs.conditions):
        rows = (pairs.condition == number).numpy()
        entry = found["condition"][name]
        assert entry["radius"] in norms[rows]
        assert (norms[rows] <= entry["radius"]).mean() >= quantile > (norms[rows] < entry["radius"]).mean()
        assert entry["pairs"] == rows.sum()
        assert entry["sources"] == len(set(pairs.sources.numpy()[rows]))
    if quantile == 1:
        for entries in found.values():
            assert max(e["radius"] for e in entries.values()) == radius_from_pairs(model, pairs)


def test_groups_of_ones_own_may_leave_pairs_out(linear_cvae: Any, pairs: Any) -> None:
    number = torch.full((300,), -1)
    number[7], number[11] = 0, 2
    found = radius_by_group(linear_cvae(), pairs, groups={"mine": Grouping(number, ("a", "b", "c"))})
    norms = encodings(linear_cvae(), pairs).norm(dim=1)

    assert found == {
        "mine": {
            "a": {"radius": float(norms[7]), "pairs": 1, "sources": 1},
            "c": {"radius": float(norms[11]), "pairs": 1, "sources": 1},
        }
    }
    assert radius_by_group(linear_cvae(), pairs) == {}  # one label, no conditions: nothing to sort by
    with pytest.raises(ValueError, match=r"groups\['mine'\] must number"):
        radius_by_group(linear_cvae(), pairs, groups={"mine": Grouping(number[1:], ("a", "b", "c"))})
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\]"):
        radius_by_group(linear_cvae(), pairs, quantile=0.0)
