from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from perturbsets import Interval, share_interval
from perturbsets.knowledge import Rejection, evaluate_rejection, rejection_threshold


def exact(successes: int, trials: int) -> Interval:
    return share_interval(torch.arange(trials) < successes)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.integers(0, 99))
def test_the_threshold_is_the_least_that_keeps_the_share(scores: list[float], percent: int) -> None:
    natural, share = torch.tensor(scores), percent / 100
    threshold = rejection_threshold(natural, share=share)

    assert (natural > threshold).sum().item() / len(scores) <= share
    assert threshold in natural.tolist()
    lower = [score for score in natural.tolist() if score < threshold]
    assert all((natural > score).sum().item() / len(scores) > share for score in lower)


@pytest.mark.parametrize(("share", "rejected"), [(0.0, 0), (0.05, 5), (0.29, 29), (0.57, 57), (0.99, 99)])
def test_exactly_the_share_is_rejected_where_scores_differ(share: float, rejected: int) -> None:
    natural = torch.randperm(100).double()

    assert (natural > rejection_threshold(natural, share=share)).sum() == rejected


def test_shares_are_counts_of_images() -> None:
    scores = torch.tensor([0.1, 0.5, 0.6, 0.2, 0.9, 0.3])
    right = torch.tensor([True, True, True, False, False, True])
    found = evaluate_rejection(scores, right, 0.5)

    assert found == Rejection(
        0.5,
        exact(4, 6),
        exact(3, 6),
        exact(1, 6),
        exact(3, 4),
    )
    assert found.summary()["wrong"] == exact(1, 6)._asdict()
    assert found.summary()["threshold"] == 0.5


def test_nothing_accepted_leaves_no_share_of_it() -> None:
    found = evaluate_rejection(torch.ones(3), torch.tensor([True, False, True]), 0.5)

    assert found.right_of_accepted is None
    assert found.accepted.mean == found.right.mean == found.wrong.mean == 0
    assert isinstance(found.wrong, Interval)
    assert found.summary()["right_of_accepted"] is None


@pytest.mark.parametrize(
    ("natural", "share", "words"),
    [
        (torch.zeros(0), 0.05, "natural must hold one score at least"),
        (torch.tensor([0.0, math.nan]), 0.05, "natural must be finite, got NaN or infinity in row 1"),
        (torch.zeros(3), 1.0, "share must be 0 or more and below 1, got 1"),
        (torch.zeros(3), -0.1, "got -0.1"),
        (torch.zeros(3), math.nan, "got nan"),
    ],
)
def test_thresholds_of_no_scores_are_refused(natural: Tensor, share: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rejection_threshold(natural, share=share)


def test_judging_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="right must be one flag for each score, 1 or more, got 0 for 0"):
        evaluate_rejection(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0.5)
    with pytest.raises(ValueError, match="scores must be finite, got NaN or infinity in row 0"):
        evaluate_rejection(torch.tensor([math.inf]), torch.tensor([True]), 0.5)
