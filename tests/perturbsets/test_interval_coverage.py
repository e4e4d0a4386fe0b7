"""How often intervals hold the truth, by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from perturbsets.intervals import Interval, difference_interval, mean_interval, share_interval

SHARES = (0.0, 0.01, 0.1, 0.5, 0.99, 1.0)
COUNTS = (2, 5, 10, 30, 300)
MEANS = {
    "normal": 0.0,
    "uniform": 0.5,
    "exponential": 1.0,
    "log-normal .5": math.exp(0.125),
    "log-normal 1": math.exp(0.5),
}
LEAST = 0.905  # of intervals of 95 %, over some hundred repetitions: about three deviations below


def of_clusters(generator: torch.Generator, share: float, groups: int, size: int, correlation: float) -> Interval:
    """The interval of flags in groups, whose shares in each group are beta distributed around the true one."""
    if correlation == 1:
        inner = (torch.rand(groups, generator=generator) < share).double()
    elif correlation == 0 or share in (0, 1):
        inner = torch.full((groups,), share, dtype=torch.float64)
    else:
        rest = (1 - correlation) / correlation
        ends = torch.tensor([share * rest, (1 - share) * rest], dtype=torch.float64)
        gamma = torch._standard_gamma(ends.expand(groups, 2), generator=generator)
        inner = gamma[:, 0] / gamma.sum(1).clamp_min(1e-300)
    flags = torch.rand(groups, size, generator=generator, dtype=torch.float64) < inner[:, None]
    return share_interval(flags.flatten(), torch.arange(groups).repeat_interleave(size))


def of_differences(generator: torch.Generator, one: float, other: float, images: int, seeds: int) -> Interval:
    """The interval of flags of which the first alone is right with the one chance, the second alone with the other."""
    u = torch.rand(images, seeds, generator=generator, dtype=torch.float64)
    both = u > (1 + one + other) / 2
    return difference_interval((u < one) | both, ((u >= one) & (u < one + other)) | both)


def of_numbers(generator: torch.Generator, name: str, count: int) -> Interval:
    """The interval of the mean of numbers, which :data:`MEANS` tells."""
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    z = torch.randn(count, generator=generator, dtype=torch.float64)
    drawn = {
        "normal": z,
        "uniform": u,
        "exponential": -u.log(),
        "log-normal .5": (0.5 * z).exp(),
        "log-normal 1": z.exp(),
    }
    return mean_interval(drawn[name])


def held(truth: float, repetitions: int, draw: Callable[..., Interval], *how: object) -> float:
    """Share of the intervals that hold the truth, each of which has a width; NaN where none are given."""
    generator = torch.Generator().manual_seed(0)
    found = [(low, high) for _, low, high in (draw(generator, *how) for _ in range(repetitions))]
    given = [(low, high) for low, high in found if low is not None and high is not None]
    assert all(low < high for low, high in given)
    return sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in given) / len(given) if given else math.nan


@pytest.mark.parametrize("count", [2, 5, 10, 30])
def test_shares_keep_the_level(count: int) -> None:
    for share in SHARES:
        assert held(share, 150, of_clusters, share, count, 1, 0.0) >= LEAST
        assert held(share, 150, of_clusters, share, count, 3, 0.9) >= LEAST  # three seeds of one image


@pytest.mark.parametrize("correlation", [0.05, 0.3, 1.0])
def test_shares_of_clusters_keep_the_level(correlation: float) -> None:
    for count, share in ((5, 0.1), (10, 0.9), (30, 0.01), (30, 0.5)):
        assert held(share, 200, of_clusters, share, count, 25, correlation) >= LEAST


def test_differences_keep_the_level() -> None:
    for count, one, other in ((5, 0.0, 0.0), (5, 0.1, 0.1), (10, 0.99, 0.0), (10, 0.5, 0.3), (30, 0.01, 0.0)):
        for seeds in (1, 3):
            assert held(one - other, 150, of_differences, one, other, count, seeds) >= LEAST


@pytest.mark.parametrize("name", ["normal", "exponential", "log-normal .5"])
def test_means_keep_the_level(name: str) -> None:
    for count in (5, 8, 15):
        assert held(MEANS[name], 250, of_numbers, name, count) >= LEAST


@pytest.mark.slow
def test_the_level_of_every_kind_of_interval() -> None:
    """The whole table, in %; shown with ``-s``."""
    repetitions = 500  # a share of .95 is then within .03 by three deviations

    def rows(title: str, counts: tuple[int, ...], cell: Callable[[int, int], float], columns: int) -> float:
        print(title)
        table = torch.tensor([[cell(count, column) for column in range(columns)] for count in counts])
        for count, line in zip(counts, table.tolist(), strict=True):
            print(f"  n = {count:3}", *(f"{100 * value:6.1f}" for value in line))
        return float(table[~table.isnan()].min())

    for size, correlation in ((1, 0.0), *((size, one) for size in (3, 25) for one in (0.0, 0.05, 0.3, 1.0))):

        def share(count: int, column: int, size: int = size, correlation: float = correlation) -> float:
            return held(SHARES[column], repetitions, of_clusters, SHARES[column], count, size, correlation)

        title = f"shares {SHARES} of flags in groups of {size}, correlation {correlation}"
        assert rows(title, COUNTS, share, len(SHARES)) >= 0.92

    chances = ((0.0, 0.0), (0.01, 0.0), (0.1, 0.0), (0.1, 0.1), (0.5, 0.0), (0.5, 0.5), (0.99, 0.0), (1.0, 0.0))
    for seeds in (1, 3):

        def difference(count: int, column: int, seeds: int = seeds) -> float:
            one, other = chances[column]
            return held(one - other, repetitions, of_differences, one, other, count, seeds)

        title = f"differences, seeds: {seeds}; the first alone is right and the second alone is: {chances}"
        assert rows(title, COUNTS, difference, len(chances)) >= 0.905

    def mean(count: int, column: int) -> float:
        name = list(MEANS)[column]
        return held(MEANS[name], repetitions, of_numbers, name, count)

    assert rows(f"means: {', '.join(MEANS)}", (2, 5, 8, 10, 15, 30, 300), mean, len(MEANS)) >= 0.86  # the last, of 5
