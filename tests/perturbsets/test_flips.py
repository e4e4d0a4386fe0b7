"""What adversaries turn, counted by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from perturbsets import Interval, share_interval
from perturbsets.multi_label import flips, success_at_k, target_outcomes

NAN = math.nan


def exact(successes: int, trials: int) -> Interval:
    return share_interval(torch.arange(trials) < successes)


def test_flips_are_counted_by_label_and_direction() -> None:
    before = torch.tensor([[1, 0, 1], [1, 0, NAN], [1, 1, 1], [0, 0, 1]])
    after = torch.tensor([[0, 1, 1], [1, 0, 1], [0, 1, NAN], [1, 1, 0]])
    found = flips(before, after)

    assert found.shares_turned_off() == [
        exact(2, 3),
        exact(0, 1),
        exact(1, 2),
    ]
    assert found.shares_turned_on() == [exact(1, 1), exact(2, 3), None]
    summary = found.summary()
    assert summary["any"] == exact(3, 4)._asdict()
    assert summary["flips"]["mean"] == 6 / 4
    assert summary["labels"][2]["turned_on"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_predictions_may_be_flags() -> None:
    before, after = torch.tensor([[True, False]]), torch.tensor([[False, False]])
    assert flips(before, after).summary() == flips(before.long(), after.float()).summary()
    assert flips(before, after).turned_off.tolist() == [[True, False]]


def test_outcomes_separate_target_labels_from_collateral_flips() -> None:
    before = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    targets = torch.tensor([[0, 1, NAN], [0, 1, 0], [0, NAN, NAN], [1, NAN, 0]])
    after = torch.tensor([[0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]])
    found = target_outcomes(before, after, targets)

    assert found.asked.tolist() == [2, 2, 1, 0]
    assert found.attained.tolist() == [2, 1, 1, 0]
    assert found.collateral.tolist() == [0, 1, 2, 1]  # the last: a label to be kept
    assert found.success.tolist() == [True, False, True, False]
    summary = found.summary()
    assert summary["success"] == exact(2, 3)._asdict()
    assert summary["clean_success"] == exact(1, 3)._asdict()
    assert summary["attained"]["mean"] == 4 / 5
    assert summary["collateral"]["mean"] == 1
    assert summary["undisturbed"] == exact(1, 4)._asdict()
    assert summary["asked"] == 3


def test_nothing_asked_is_no_success() -> None:
    states = torch.tensor([[1.0, 0.0]])
    summary = target_outcomes(states, states, states).summary()
    assert summary["success"] is summary["clean_success"] is summary["attained"] is None


def test_unknown_states_are_no_collateral_and_count_where_asked_for() -> None:
    found = target_outcomes(torch.tensor([[NAN, NAN]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, NAN]]))
    assert (found.asked.item(), found.attained.item(), found.collateral.item()) == (1, 1, 0)


def test_success_at_k_needs_k_labels_above_every_label_that_is_on() -> None:
    states = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, NAN]])
    logits = torch.tensor([[1.0, 3, 2, 0], [0, 2.5, 3, 2], [2, 2, 3, 0], [9, 9, 9, 0]])

    assert success_at_k(logits, states, 1) == exact(3, 3)
    assert success_at_k(logits, states, 2) == share_interval(
        torch.arange(3) < 1
    )  # rows 1: an on-label is second; row 2: a tie for it
    assert success_at_k(logits, states, 3) == exact(0, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flips(torch.zeros(2, 3), torch.zeros(2, 2)), r"same labels .* got \[2, 3\] and \[2, 2\]"),
        (lambda: flips(torch.zeros(0, 3), torch.zeros(0, 3)), "at least one"),
        (lambda: flips(torch.zeros(1, 1), torch.full((1, 1), 0.5)), "must be 0, 1 or NaN, got 0.5"),
        (
            lambda: target_outcomes(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 3)),
            r"targets .* \[1, 2\], got \[1, 3\]",
        ),
        (lambda: target_outcomes(torch.zeros(1, 2), torch.zeros(1, 2), torch.full((1, 2), 2)), "must be 0, 1 or NaN"),
        (
            lambda: success_at_k(torch.zeros(1, 2), torch.ones(1, 2), 2),
            "number of labels, 2, got 2: all labels are among the 2 first",
        ),
        (lambda: success_at_k(torch.zeros(1, 2), torch.ones(1, 2), 0), "at least 1 .* got 0"),
        (lambda: success_at_k(torch.zeros(1, 2), torch.zeros(1, 2), 1), "nothing is pushed out"),
        (lambda: success_at_k(torch.zeros(1, 3), torch.ones(1, 2), 1), "one logit for each label"),
    ],
)
def test_wrong_arguments_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
