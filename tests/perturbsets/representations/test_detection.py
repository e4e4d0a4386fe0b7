"""The curve of two normal distributions, whose area is known, and intervals by counting how often they hold it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from perturbsets import share_interval
from perturbsets.representations import detection_roc


def area_of_normals(difference: float) -> float:
    """The chance that N(0, 1) is below N(d, 1)."""
    return float(stats.norm.cdf(difference / math.sqrt(2)))


def test_two_normals_have_their_curve_and_area() -> None:
    quantiles = torch.from_numpy(stats.norm.ppf((np.arange(4000) + 0.5) / 4000))
    found = detection_roc(quantiles + 1.5, quantiles)

    assert found.area == pytest.approx(area_of_normals(1.5), abs=1e-5)
    inner = (found.false_positive > 0.01) & (found.false_positive < 0.99)
    expected = stats.norm.cdf(stats.norm.ppf(found.false_positive[inner].numpy()) + 1.5)
    # The steepest part there has a slope of 11, and steps are of 1 / 4000.
    assert_close(found.true_positive[inner], torch.from_numpy(expected), rtol=0, atol=11 / 4000)


@given(seed=st.integers(0, 1000), counts=st.tuples(st.integers(2, 12), st.integers(2, 12)))
def test_area_is_the_share_of_pairs_in_order_and_under_the_curve(seed: int, counts: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(seed)
    natural, adversarial = (torch.randint(0, 6, (count,), generator=draw).float() for count in counts)  # with ties
    found = detection_roc(natural, adversarial)
    order = (natural[:, None] - adversarial).sign()

    assert found.area == pytest.approx((order + 1).double().mean().item() / 2)
    assert torch.trapezoid(found.true_positive, found.false_positive).item() == pytest.approx(found.area)
    assert 0 <= found.interval.low <= found.area <= found.interval.high <= 1
    assert found.interval.mean == found.area


@given(seed=st.integers(0, 1000))
def test_the_variance_is_delongs_written_out(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    natural, adversarial = torch.randn(9, generator=draw) + 0.5, torch.randn(14, generator=draw)
    found = detection_roc(natural, adversarial)
    order = (adversarial[:, None] < natural).double()
    assume(0 < found.area < 1)

    error = math.sqrt(order.mean(1).var().item() / 14 + order.mean(0).var().item() / 9)
    half = 1.959964 * error / (found.area * (1 - found.area))
    logits = [math.log(end / (1 - end)) for end in found.interval]
    assert_close(logits[2] - logits[0], half, rtol=1e-5, atol=0)
    assert_close(logits[0] - logits[1], half, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("difference", "count"), [(0.0, 30), (1.0, 30), (2.5, 40)])
def test_about_95_of_100_intervals_hold_the_true_area(difference: float, count: int) -> None:
    draw = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        natural, adversarial = torch.randn(count, generator=draw) + difference, torch.randn(count, generator=draw)
        _, low, high = detection_roc(natural, adversarial).interval
        held += low <= area_of_normals(difference) <= high

    assert 365 <= held <= 395  # binomial(400, 0.95) within about three and a half deviations


def test_scores_of_one_guide_count_once_where_they_are_copies(generator: torch.Generator) -> None:
    natural, adversarial = torch.randn(12, generator=generator) + 1, torch.randn(20, generator=generator)
    guides = torch.arange(32)
    copies = detection_roc(
        natural.repeat_interleave(5),
        adversarial.repeat_interleave(3),
        natural_groups=guides[:12].repeat_interleave(5),
        adversarial_groups=guides[12:].repeat_interleave(3),
    )

    assert copies.interval == pytest.approx(detection_roc(natural, adversarial).interval)


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_hold_where_a_guide_moves_all_its_scores_only_by_groups(grouped: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    guides, true, held = torch.arange(25), area_of_normals(1.0 / math.sqrt(1 + 0.5**2)), 0
    rows = guides.repeat_interleave(5)
    for _ in range(300):
        shift = torch.randn(25, generator=draw)[rows]
        natural, adversarial = (shift + 0.5 * torch.randn(125, generator=draw) for _ in range(2))
        # Adversaries have guides of their own here; five scores each.
        adversarial = adversarial - shift + torch.randn(25, generator=draw)[rows]
        groups = {"natural_groups": rows, "adversarial_groups": rows + 25} if grouped else {}
        _, low, high = detection_roc(natural + 1, adversarial, **groups).interval
        held += low <= true <= high

    assert (held >= 270) == grouped  # 95 % with groups; without, too narrow by nearly half


def test_shared_guides_narrow_the_interval(generator: torch.Generator) -> None:
    guides = torch.arange(40)
    shift = 3 * torch.randn(40, generator=generator)
    natural, adversarial = (shift + torch.randn(40, generator=generator) for _ in range(2))
    shared = detection_roc(natural, adversarial, natural_groups=guides, adversarial_groups=guides).interval
    apart = detection_roc(natural, adversarial).interval

    # What moves both scores of a guide leaves their order: paired by guide the area is known better.
    assert shared.high - shared.low < 0.7 * (apart.high - apart.low)


def test_wholly_separate_scores_keep_an_interval_with_a_width() -> None:
    low, high = torch.arange(10.0), torch.arange(20.0) + 50

    assert detection_roc(high, low).interval == share_interval(torch.arange(10) < 10)
    assert detection_roc(low, high).interval == share_interval(torch.arange(10) < 0)
    same = detection_roc(torch.ones(10), torch.ones(20)).interval
    assert same == share_interval(torch.arange(10) < 5)


@pytest.mark.parametrize(
    ("natural", "adversarial", "groups", "message"),
    [
        (torch.rand(1), torch.rand(5), {}, "natural must hold at least 2 scores, of 2 groups, got 1 scores"),
        (torch.rand(5), torch.rand(0), {}, "adversarial must hold at least 2 scores"),
        (torch.tensor([1.0, torch.nan]), torch.rand(5), {}, "natural must be finite, got NaN or infinity in row 1"),
        (torch.rand(5), torch.rand(5), {"natural_groups": torch.arange(5)}, "both be given or neither"),
        (
            torch.rand(5),
            torch.rand(5),
            {"natural_groups": torch.arange(5), "adversarial_groups": torch.zeros(5, dtype=torch.int64)},
            "adversarial must hold at least 2 scores, of 2 groups, got 5 scores",
        ),
    ],
)
def test_scores_without_an_area_are_refused(
    natural: Tensor, adversarial: Tensor, groups: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        detection_roc(natural, adversarial, **groups)
