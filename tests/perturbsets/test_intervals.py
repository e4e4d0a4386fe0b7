from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn.functional import adaptive_avg_pool2d

from augment import Patches
from perturbsets import AccuracyTable, Interval, difference_interval, mean_interval, share_interval
from perturbsets.intervals import ends, exact_ends, share_of


def width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 17), (500, 1000), (1, 1), (0, 1)])
def test_independent_flags_have_the_exact_interval(successes: int, trials: int) -> None:
    wanted = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    found = share_interval(torch.arange(trials) < successes)

    assert found == pytest.approx((successes / trials, wanted.low, wanted.high), abs=1e-9)
    assert width(found) > 0


@given(seed=st.integers(0, 1000), groups=st.integers(1, 40), size=st.integers(1, 5))
def test_a_group_of_equal_flags_is_one_unit(seed: int, groups: int, size: int) -> None:
    flags = torch.rand(groups, generator=torch.Generator().manual_seed(seed)) < 0.7
    once = share_interval(flags)

    assert share_interval(flags[:, None].expand(-1, size)) == pytest.approx(once, abs=1e-9)
    rows = torch.arange(groups).repeat(size) * 1000 + 7
    assert share_interval(flags.repeat(size), rows) == pytest.approx(once, abs=1e-9)
    assert share_interval(size * flags.double(), over=torch.full((groups,), float(size))) == pytest.approx(once)


def test_shares_that_vary_little_have_a_shorter_interval_and_never_none() -> None:
    shares = torch.linspace(0.4, 0.6, 30, dtype=torch.float64)
    flags = torch.arange(30) < 15

    assert width(share_interval(shares)) < 0.5 * width(share_interval(flags))
    for one in (0.0, 0.5, 1.0):  # all of them are equal: the width is at least that of some independent units
        assert width(share_interval(torch.full((30,), one))) > 0.05
    assert share_interval(torch.ones(30)) == share_interval(torch.ones(30, dtype=torch.bool))


def test_patches_of_a_block_are_not_independent() -> None:
    """550 patches in 22 blocks, and the nearest training patch as classifier: 80.5 % are right."""
    train, test = Patches("train", stride=16), Patches("test", stride=8)
    seen, asked = (adaptive_avg_pool2d(some.images.float(), 2).flatten(1) for some in (train, test))
    flags = train.labels[torch.cdist(asked, seen).argmin(1)] == test.labels
    blocks = torch.stack([flags[test.groups == block].double().mean() for block in test.groups.unique()])
    drawn = blocks[torch.randint(22, (4000, 22), generator=torch.Generator().manual_seed(0))].mean(1)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()  # 69.6 and 90.0 %
    table = AccuracyTable({("nearest", "clean"): flags[None]}, test.groups)
    found = table.accuracy("nearest", "clean")

    assert table.summary()["images"] == 550
    assert table.summary()["independent"] == 22
    assert found.mean == pytest.approx(0.805, abs=0.01)
    assert low - 0.05 < (found.low or 0) < low < high < (found.high or 1) < high + 0.05
    assert width(found) > 3 * width(AccuracyTable(table.correct).accuracy("nearest", "clean"))


def test_seeds_of_one_image_count_together() -> None:
    right = torch.ones(3, 40, dtype=torch.bool)
    table = AccuracyTable({("a", "clean"): right, ("b", "clean"): right[:1]})

    assert table.accuracy("a", "clean") == share_interval(right[0])  # as wide as for 40 images, not for 120
    assert width(table.difference("a", "b", "clean")) > 0.1


def test_a_share_of_some_rows_is_that_of_these_rows_alone() -> None:
    flags, rows, groups = torch.rand(30) < 0.5, torch.rand(30) < 0.7, torch.arange(30) // 3
    found = share_of(flags, rows, groups)

    assert found == pytest.approx(share_interval(flags[rows], groups[rows]))
    assert share_of(flags, torch.zeros(30, dtype=torch.bool)) is None


def test_equal_flags_do_not_differ_by_exactly_nothing() -> None:
    for share in (0.0, 0.5, 1.0):
        flags = torch.arange(40) < 40 * share
        mean, low, high = difference_interval(flags, flags)
        bound = 1 - 0.025 ** (1 / 40)  # the exact one-sided bound of a change that was never seen
        assert (mean, low, high) == pytest.approx((0, -bound, bound))


def test_differences_agree_with_the_normal_interval_for_many_images() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(4000, generator=generator) < share for share in (0.8, 0.7))
    change = first.double() - second.double()
    half = 1.96 * change.std().item() / math.sqrt(4000)
    mean, low, high = difference_interval(first, second)

    assert mean == pytest.approx(change.mean().item())
    assert low == pytest.approx(mean - half, abs=0.1 * half)
    assert high == pytest.approx(mean + half, abs=0.1 * half)
    assert difference_interval(second, first) == pytest.approx((-mean, -high, -low))


def test_what_images_have_in_common_cancels() -> None:
    first = torch.arange(200) < 120
    second = first & (torch.arange(200) != 5)
    assert width(difference_interval(first, second)) < 0.3 * width(share_interval(first))


@given(seed=st.integers(0, 1000), count=st.integers(5, 50))
def test_the_mean_is_exact_and_inside(seed: int, count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, low, high = mean_interval(values, generator=torch.Generator().manual_seed(seed))

    assert math.isclose(mean, values.double().mean().item(), rel_tol=1e-9, abs_tol=1e-12)
    assert low is not None
    assert high is not None
    assert low < mean < high
    tripled = mean_interval(3 * values, generator=torch.Generator().manual_seed(seed))
    assert tripled == pytest.approx(Interval(mean, low, high).scaled(3.0), abs=1e-9)


def test_means_agree_with_the_normal_interval_for_many_values() -> None:
    values = torch.randn(2000, dtype=torch.float64)
    mean, low, high = mean_interval(values)
    half = stats.norm.ppf(0.975) * values.std().item() / math.sqrt(2000)

    assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.1)


def test_means_are_the_hull_of_student_and_the_studentised_bootstrap() -> None:
    values = torch.rand(12, dtype=torch.float64) ** 4
    x = values.numpy()
    rows = np.random.default_rng(0).integers(12, size=(20_000, 12))
    drawn = (x[rows].mean(1) - x.mean()) / (x[rows].std(1, ddof=1) / math.sqrt(12))
    error = x.std(ddof=1) / math.sqrt(12)
    student = stats.t.ppf(0.975, 11)
    low, high = np.quantile(drawn, [0.025, 0.975])
    mean, *found = mean_interval(values)

    assert found == pytest.approx([mean - error * max(high, student), mean - error * min(low, -student)], rel=0.15)


def test_groups_widen_the_interval_where_pairs_of_one_source_agree() -> None:
    groups = torch.arange(20).repeat_interleave(10)
    values = torch.randn(20, dtype=torch.float64)[groups] + 0.05 * torch.randn(200, dtype=torch.float64)
    naive, grouped = mean_interval(values), mean_interval(values, groups)

    assert naive.mean == pytest.approx(grouped.mean)
    # Ten copies of each number count as 200 instead of 20: too narrow by the root of ten.
    assert width(grouped) / width(naive) == pytest.approx(math.sqrt(10), rel=0.25)


def test_groups_may_have_any_number_and_order() -> None:
    values, groups = torch.randn(30), torch.arange(30) % 6 * 1000 + 7
    order = torch.randperm(30)

    assert mean_interval(values, groups) == pytest.approx(mean_interval(values[order], groups[order]))
    assert mean_interval(values, torch.arange(30)) == pytest.approx(mean_interval(values))


@pytest.mark.parametrize(
    "found",
    [
        lambda: mean_interval(torch.randn(30), torch.arange(30) % 4),  # too few groups
        lambda: mean_interval(torch.full((30,), 0.1)),  # nothing tells how others would differ
        lambda: mean_interval(torch.full((9,), 0.1) * torch.arange(1, 10), over=torch.arange(1.0, 10)),
        lambda: mean_interval((torch.arange(30) == 0).double()),  # a third of all resamples hold one number alone
        lambda: difference_interval(torch.rand(4) < 0.5, torch.rand(4) < 0.5),
    ],
)
def test_none_where_the_data_cannot_tell(found: Callable[[], Interval]) -> None:
    _, low, high = found()
    assert low is high is None
    assert ends(low, high, str) == "–"


def test_ratios_of_means() -> None:
    above, below = torch.rand(400, dtype=torch.float64), 1 + torch.rand(400, dtype=torch.float64)
    ratio = mean_interval(above, over=below)
    # The delta method: the variance of (a - ratio b) / mean b.
    half = 1.96 * ((above - ratio.mean * below).std() / below.mean()).item() / math.sqrt(400)

    assert ratio.mean == pytest.approx((above.mean() / below.mean()).item())
    assert width(ratio) / 2 == pytest.approx(half, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_leaves_the_global_state() -> None:
    values = torch.rand(50) ** 6
    before = torch.get_rng_state()

    first, again, other = (mean_interval(values, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(torch.empty(0)), "values must hold at least one number"),
        (lambda: share_interval(torch.empty(0)), "shares must hold at least one number"),
        (lambda: share_interval(torch.tensor([0.5, 1.2])), "shares must be flags or within 0 and 1, got 0.5 to 1.2"),
        (lambda: share_interval(torch.tensor([-1.0])), "`mean_interval` takes other numbers"),
        (lambda: share_interval(torch.tensor([2]), over=torch.tensor([1])), "within 0 and over"),
        (lambda: share_interval(torch.ones(3), torch.arange(2)), "groups must be one number for each of 3 rows"),
        (lambda: mean_interval(torch.ones(3), over=torch.ones(2)), "over must be of the shape of values"),
        (lambda: difference_interval(torch.ones(3), torch.ones(2)), "must be of the same images, got 3 and 2"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Interval], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_exact_ends_take_units_that_are_not_whole() -> None:
    low, high = exact_ends(0.3, 10.5)
    assert exact_ends(0.3, 11.0)[0] > low > exact_ends(0.3, 10.0)[0]
    assert exact_ends(0.3, 11.0)[1] < high < exact_ends(0.3, 10.0)[1]
    assert exact_ends(0.3, 20.0) == pytest.approx(stats.binomtest(6, 20).proportion_ci(0.95, "exact"))
