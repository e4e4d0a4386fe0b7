from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perturbsets.certificates import coverage, one_per_source, sources_needed, tolerance_limit

REPETITIONS = 2000
COUNT, SHARE, ALPHA = 86, 0.8, 0.1
# Exceeded with a chance of 1 in 1,000 by statements that are wrong exactly as often as they may be.
ALLOWED = stats.binom.isf(1e-3, REPETITIONS, ALPHA)

# A way to draw numbers, and the share of them within a limit.
Law = tuple[Callable[[int, torch.Generator], torch.Tensor], Callable[[float], float]]


def few_values(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(10, (count,), generator=generator) / 10.0


LAWS: dict[str, Law] = {
    "uniform": (lambda count, g: torch.rand(count, generator=g, dtype=torch.float64), lambda limit: limit),
    "heavy": (
        lambda count, g: torch.rand(count, generator=g, dtype=torch.float64) ** -3 - 1,
        lambda limit: 1 - (1 + limit) ** (-1 / 3),
    ),
    "ten values": (few_values, lambda limit: math.floor(10 * limit + 1e-6) / 10 + 0.1),
    "often infinite": (
        lambda count, g: torch.rand(count, generator=g, dtype=torch.float64).masked_fill_(
            torch.rand(count, generator=g) < 0.1, math.nan
        ),
        lambda limit: 0.9 * min(limit, 1.0),
    ),
}
LIMITS = {"uniform": 0.8, "heavy": 124.0, "ten values": 0.7, "often infinite": 8 / 9}  # of share 0.8 exactly


def test_limits_of_the_simulation_have_the_share_they_should() -> None:
    for name, (_, share_within) in LAWS.items():
        assert share_within(LIMITS[name]) == pytest.approx(SHARE)


@pytest.mark.parametrize("name", LAWS)
def test_statements_are_wrong_no_more_often_than_alpha(name: str, generator: torch.Generator) -> None:
    draw, share_within = LAWS[name]
    wrong = {"limit": 0, "share": 0, "alpha": 0}
    for _ in range(REPETITIONS):
        numbers = draw(COUNT, generator)
        wrong["limit"] += share_within(tolerance_limit(numbers, share=SHARE, alpha=ALPHA).limit) < SHARE - 1e-9
        wrong["share"] += tolerance_limit(numbers, limit=LIMITS[name], alpha=ALPHA).share > SHARE
        wrong["alpha"] += tolerance_limit(numbers, limit=LIMITS[name], share=SHARE).alpha <= ALPHA

    assert max(wrong.values()) <= ALLOWED, wrong
    if name != "ten values":  # without ties they are wrong just as often as whole numbers let them be: 0.099 of times
        k = torch.arange(COUNT + 1)
        weights = stats.binom.pmf(k.numpy(), COUNT, SHARE)
        rank = tolerance_limit(numbers, share=SHARE, alpha=ALPHA).rank
        exact = weights[rank:].sum()
        assert exact > 0.98 * ALPHA
        # All three are wrong where rank or more of the numbers are within the limit of the true share.
        low, high = stats.binom.interval(1 - 1e-3, REPETITIONS, exact)
        assert all(low <= times <= high for times in wrong.values()), (wrong, exact)


def clustered(generator: torch.Generator, sources: int = 60, pairs: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Uniform errors; four in five pairs share that of their source."""
    shared = torch.rand(sources, 1, generator=generator).expand(-1, pairs)
    own = torch.rand(sources, pairs, generator=generator) < 0.2
    errors = torch.where(own, torch.rand(sources, pairs, generator=generator), shared)
    return errors.flatten(), torch.arange(sources).repeat_interleave(pairs)


def test_pairs_of_one_source_must_not_count_as_independent(generator: torch.Generator) -> None:
    ours, naive = {"limit": 0, "share": 0, "alpha": 0}, 0
    for _ in range(REPETITIONS):
        errors, sources = clustered(generator)
        one = errors[one_per_source(sources, generator=generator)]
        ours["limit"] += tolerance_limit(one, share=SHARE, alpha=ALPHA).limit < SHARE
        ours["share"] += tolerance_limit(one, limit=SHARE, alpha=ALPHA).share > SHARE
        ours["alpha"] += tolerance_limit(one, limit=SHARE, share=SHARE).alpha <= ALPHA
        naive += tolerance_limit(errors, share=SHARE, alpha=ALPHA).limit < SHARE

    assert max(ours.values()) <= ALLOWED, ours
    # As if there were ten times the sources: wrong about three times as often as it may be.
    assert naive > 2 * ALPHA * REPETITIONS, naive


@given(count=st.integers(1, 400), share=st.floats(0.05, 0.99), alpha=st.floats(1e-6, 0.5))
def test_the_rank_is_the_first_whose_binomial_tail_is_small_enough(count: int, share: float, alpha: float) -> None:
    tails = stats.binom.sf(torch.arange(count).numpy(), count, share)  # of 1, 2, ... or more
    if tails[-1] > alpha:
        with pytest.raises(ValueError, match="held-out sources are needed"):
            tolerance_limit(torch.rand(count), share=share, alpha=alpha)
        return
    numbers = torch.rand(count, dtype=torch.float64)
    found = tolerance_limit(numbers, share=share, alpha=alpha)

    assert found.rank == int((tails > alpha).sum()) + 1
    assert found.limit == float(numbers.sort().values[found.rank - 1])
    # The three ways round agree: at this limit the bound is at least the share, and the chance at most alpha.
    assert tolerance_limit(numbers, limit=found.limit, alpha=alpha).share >= share * (1 - 1e-9)
    assert tolerance_limit(numbers, limit=found.limit, share=share).alpha <= alpha


@given(share=st.floats(0.01, 0.999), alpha=st.floats(1e-9, 0.99))
def test_sources_needed_are_the_least(share: float, alpha: float) -> None:
    needed = sources_needed(share, alpha)

    assert share**needed <= alpha * (1 + 1e-12)
    assert needed == 1 or share ** (needed - 1) > alpha * (1 - 1e-12)


@pytest.mark.parametrize(("share", "alpha", "needed"), [(0.95, 0.05, 59), (0.9, 0.05, 29), (0.99, 0.01, 459)])
def test_sources_needed_are_the_published_ones(share: float, alpha: float, needed: int) -> None:
    assert sources_needed(share, alpha) == needed  # tables of one-sided distribution-free tolerance limits


def test_too_few_sources_are_told_how_many_are_needed() -> None:
    with pytest.raises(ValueError, match=r"29 held-out sources are needed for share=0\.9 with alpha=0\.05, .* got 28"):
        tolerance_limit(torch.rand(28), share=0.9, alpha=0.05)
    assert tolerance_limit(torch.rand(29), share=0.9, alpha=0.05).rank == 29
    with pytest.raises(ValueError, match="1 or more held-out sources are needed, got none"):
        tolerance_limit(torch.rand(0), limit=0.5, alpha=0.05)


def test_what_is_not_finite_is_beyond_every_limit() -> None:
    numbers = torch.tensor([math.nan, math.inf] + [0.1] * 98)

    assert tolerance_limit(numbers, limit=1e9, alpha=0.05).rank == 98
    assert tolerance_limit(numbers, share=0.9, alpha=0.05).limit == pytest.approx(0.1)
    assert math.isinf(tolerance_limit(numbers, share=0.97, alpha=0.05).limit)


def test_a_chance_is_never_zero() -> None:
    assert 0 < tolerance_limit(torch.zeros(100_000), limit=0.5, share=0.5).alpha < 1e-300


@pytest.mark.parametrize(
    "given_numbers",
    [{}, {"share": 0.9}, {"tolerance": 0.1}, {"tolerance": 0.1, "share": 0.9, "alpha": 0.05}],
)
def test_two_of_three_have_to_be_given(given_numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="two of tolerance, share and alpha must be given"):
        coverage(torch.rand(100), torch.arange(100), **given_numbers)


@pytest.mark.parametrize(
    ("given_numbers", "message"),
    [
        ({"tolerance": -0.1, "alpha": 0.05}, "tolerance must be 0 or more and finite, got -0.1"),
        ({"tolerance": math.nan, "alpha": 0.05}, "tolerance must be 0 or more and finite, got nan"),
        ({"tolerance": math.inf, "share": 0.9}, "tolerance must be 0 or more and finite, got inf"),
        ({"tolerance": 0.1, "alpha": 0.0}, "alpha must be above 0 and below 1, got 0"),
        ({"tolerance": 0.1, "alpha": 5.0}, "5 % are 0.05"),
        ({"share": 1.0, "alpha": 0.05}, "share must be above 0 and below 1, got 1"),
        ({"share": math.nan, "alpha": 0.05}, "share must be above 0 and below 1, got nan"),
        ({"share": 0.9, "alpha": -0.1}, "alpha must be above 0 and below 1, got -0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(given_numbers: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coverage(torch.rand(100), torch.arange(100), **given_numbers)


def test_every_pair_of_a_source_is_drawn_as_often_as_the_others(generator: torch.Generator) -> None:
    sources = torch.tensor([5, 9, 5, 5, 2, 9])
    drawn = torch.stack([one_per_source(sources, generator=generator) for _ in range(REPETITIONS)])

    assert torch.equal(sources[drawn], torch.tensor([2, 5, 9]).expand(REPETITIONS, -1))
    counts = drawn.flatten().bincount()
    assert counts[4] == REPETITIONS
    assert stats.chisquare(counts[[0, 2, 3]].numpy()).pvalue > 1e-3
    assert stats.chisquare(counts[[1, 5]].numpy()).pvalue > 1e-3


def test_the_draw_is_that_of_the_generator() -> None:
    sources = torch.randint(20, (200,))
    first, again, other = (one_per_source(sources, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert one_per_source(sources[:0]).shape == (0,)
