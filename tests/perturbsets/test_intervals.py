from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perturbsets import binomial, bootstrap


@given(seed=st.integers(0, 1000), count=st.integers(1, 50))
def test_the_mean_is_exact_and_inside(seed: int, count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    mean, low, high = bootstrap(values, seed=seed)

    assert math.isclose(mean, values.double().mean().item(), rel_tol=1e-9, abs_tol=1e-12)
    assert values.min() - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= values.max() + 1e-9


def test_intervals_agree_with_the_normal_one_for_many_values() -> None:
    values = torch.randn(2000, dtype=torch.float64)
    mean, low, high = bootstrap(values)
    half = stats.norm.ppf(0.975) * values.std().item() / math.sqrt(2000)

    assert math.isclose(mean - low, half, rel_tol=0.1)
    assert math.isclose(high - mean, half, rel_tol=0.1)


def test_intervals_agree_with_scipy() -> None:
    values = torch.rand(60, dtype=torch.float64) ** 3
    _, low, high = bootstrap(values)
    theirs = stats.bootstrap((values.numpy(),), np.mean, n_resamples=4000, method="percentile", rng=0)

    assert math.isclose(low, theirs.confidence_interval.low, rel_tol=0.05)
    assert math.isclose(high, theirs.confidence_interval.high, rel_tol=0.05)


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    draw = torch.Generator().manual_seed(0)
    held = 0
    for seed in range(100):
        values = torch.rand(40, generator=draw)
        _, low, high = bootstrap(values, seed=seed)
        held += low <= 0.5 <= high

    assert 87 <= held <= 100  # binomial(100, 0.94) within three deviations


def test_groups_widen_the_interval_where_pairs_of_one_source_agree() -> None:
    groups = torch.arange(20).repeat_interleave(10)
    values = torch.randn(20, dtype=torch.float64)[groups] + 0.05 * torch.randn(200, dtype=torch.float64)
    naive, grouped = bootstrap(values), bootstrap(values, groups)

    assert naive.mean == pytest.approx(grouped.mean)
    # Ten copies of each number count as 200 instead of 20: too narrow by the root of ten.
    assert (grouped.high - grouped.low) / (naive.high - naive.low) == pytest.approx(math.sqrt(10), rel=0.2)


def test_groups_may_have_any_number_and_order() -> None:
    values, groups = torch.randn(30), torch.randint(0, 5, (30,)) * 1000 + 7
    order = torch.randperm(30)

    assert bootstrap(values, groups) == pytest.approx(bootstrap(values[order], groups[order]))
    assert bootstrap(values, torch.arange(30)) == pytest.approx(bootstrap(values))


def test_one_group_has_no_spread() -> None:
    values = torch.randn(30)
    assert bootstrap(values, torch.zeros(30, dtype=torch.long)) == pytest.approx([values.mean().item()] * 3, abs=1e-6)


def test_ratios_of_means() -> None:
    above, below = torch.rand(400, dtype=torch.float64), 1 + torch.rand(400, dtype=torch.float64)
    ratio = bootstrap(above, over=below)
    # The delta method: the variance of (a - ratio b) / mean b.
    half = 1.96 * ((above - ratio.mean * below).std() / below.mean()).item() / math.sqrt(400)

    assert ratio.mean == pytest.approx((above.mean() / below.mean()).item())
    assert (ratio.high - ratio.low) / 2 == pytest.approx(half, rel=0.1)
    assert bootstrap(2 * below, over=below) == pytest.approx([2.0, 2.0, 2.0])


def test_the_same_seed_gives_the_same_interval_and_leaves_the_global_state() -> None:
    values = torch.randn(50)
    before = torch.get_rng_state()

    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) != bootstrap(values, seed=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="values must hold at least one number"):
        bootstrap(torch.empty(0))


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 17), (500, 1000), (1, 1)])
def test_binomial_intervals_agree_with_scipy(successes: int, trials: int) -> None:
    wanted = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    mean, low, high = binomial(successes, trials)

    assert mean == successes / trials
    assert math.isclose(low, wanted.low, abs_tol=1e-9)
    assert math.isclose(high, wanted.high, abs_tol=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_impossible_shares_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes must be within 0 and the trials"):
        binomial(successes, trials)
