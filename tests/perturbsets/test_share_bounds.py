from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from perturbsets import share_interval
from perturbsets.share_bounds import chance_of_at_least, share_at_least, share_at_most

ALPHAS = [1e-6, 0.001, 0.05, 0.5, 0.9]


@given(trials=st.integers(1, 10_000), part=st.floats(0, 1), alpha=st.sampled_from(ALPHAS))
def test_bounds_are_where_the_binomial_tails_are_alpha(trials: int, part: float, alpha: float) -> None:
    successes = round(part * trials)
    low, high = (float(bound(successes, trials, alpha)) for bound in (share_at_least, share_at_most))

    assert low == 0 if successes == 0 else stats.binom.sf(successes - 1, trials, low) == pytest.approx(alpha, rel=1e-9)
    assert (
        high == 1 if successes == trials else stats.binom.cdf(successes, trials, high) == pytest.approx(alpha, rel=1e-9)
    )
    assert alpha >= 0.5 or low <= successes / trials <= high


@given(trials=st.integers(1, 10_000), part=st.floats(0, 1), share=st.floats(0.001, 0.999))
def test_the_chance_is_the_binomial_tail(trials: int, part: float, share: float) -> None:
    successes = round(part * trials)
    wanted = stats.binom.sf(successes - 1, trials, share)

    assert float(chance_of_at_least(successes, trials, share)) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("trials", [1, 7, 100, 10**6, 10**12])
def test_none_and_all_have_a_closed_form(trials: int, alpha: float) -> None:
    root = math.exp(math.log(alpha) / trials)

    assert float(share_at_least(trials, trials, alpha)) == pytest.approx(root, rel=1e-12)
    assert float(share_at_most(0, trials, alpha)) == pytest.approx(-math.expm1(math.log(alpha) / trials), rel=1e-9)
    assert float(share_at_least(0, trials, alpha)) == 0
    assert float(share_at_most(trials, trials, alpha)) == 1


@pytest.mark.parametrize(("trials", "digits"), [(10**6, 1e-10), (10**8, 1e-10), (10**9, 1e-5), (10**12, 1e-2)])
def test_bounds_of_huge_numbers_leave_a_tail_of_alpha(trials: int, digits: float) -> None:
    for successes in (trials // 2, trials // 10, trials - trials // 100):
        low, high = (float(bound(successes, trials, 0.001)) for bound in (share_at_least, share_at_most))

        assert float(chance_of_at_least(successes, trials, low)) == pytest.approx(0.001, rel=digits)
        assert float(chance_of_at_least(trials - successes, trials, 1 - high)) == pytest.approx(0.001, rel=digits)
        # The normal distribution has no skew: an error of the order of 1 / sqrt(n).
        p = successes / trials
        assert (p - low) / math.sqrt(p * (1 - p) / trials) == pytest.approx(
            stats.norm.isf(0.001), abs=1e-3 + 50 / trials**0.5
        )


def test_both_sides_at_half_the_level_are_the_interval() -> None:
    _, low, high = share_interval(torch.arange(100) < 37)

    assert float(share_at_least(37, 100, 0.025)) == pytest.approx(low, rel=1e-12)
    assert float(share_at_most(37, 100, 0.025)) == pytest.approx(high, rel=1e-12)


def test_counts_of_any_shape_are_bounded_at_once() -> None:
    successes, trials = torch.randint(0, 50, (4, 5)), torch.randint(50, 90, (5,))
    for bound in (share_at_least, share_at_most, chance_of_at_least):
        found = bound(successes, trials, 0.01)
        assert found.shape == (4, 5)
        assert found.dtype == torch.float64
        one_by_one = [
            [float(bound(int(k), int(n), 0.01)) for k, n in zip(row, trials, strict=True)] for row in successes
        ]
        assert_close(found, torch.tensor(one_by_one, dtype=torch.float64), rtol=1e-14, atol=0.0)
        assert bound(successes[:0], trials, 0.01).shape == (0, 5)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_bounds_are_wrong_as_often_as_alpha_says_and_hardly_less(share: float) -> None:
    alpha, trials = 0.1, 1000
    counts = torch.arange(trials + 1)
    weights = torch.from_numpy(stats.binom.pmf(counts.numpy(), trials, share))
    too_high = float(weights[share_at_least(counts, trials, alpha) > share].sum())
    too_low = float(weights[share_at_most(counts, trials, alpha) < share].sum())

    # Exact, over all outcomes. What is missing to α is at most one outcome's weight: counts are whole numbers.
    assert alpha - float(weights.max()) <= too_high <= alpha
    assert alpha - float(weights.max()) <= too_low <= alpha


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0), (torch.tensor([1, 9]), 5)])
def test_impossible_counts_are_refused(successes: int | torch.Tensor, trials: int) -> None:
    for bound in (share_at_least, share_at_most, chance_of_at_least):
        with pytest.raises(ValueError, match="successes must be within 0 and the trials"):
            bound(successes, trials, 0.05)


def test_counts_that_are_no_counts_are_refused() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        share_at_least(torch.tensor([0.5]), 3, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_impossible_chances_are_refused(alpha: float) -> None:
    for bound in (share_at_least, share_at_most):
        with pytest.raises(ValueError, match="alpha must be above 0 and below 1"):
            bound(1, 2, alpha)
    with pytest.raises(ValueError, match="share must be above 0 and below 1"):
        chance_of_at_least(1, 2, alpha)
