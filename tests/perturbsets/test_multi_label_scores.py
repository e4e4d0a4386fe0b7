"""Scores of multi-label classifiers, beside scikit-learn's and by hand, with unknown states."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor
from torch.testing import assert_close

from perturbsets.multi_label import multi_label_scores

NAN = math.nan


def drawn(count: int = 60, labels: int = 5, unknown: float = 0.3, ties: bool = False) -> tuple[Tensor, Tensor]:
    logits = torch.randn(count, labels, dtype=torch.float64)
    logits = logits.round() if ties else logits
    states = (logits + torch.randn(count, labels) > 0.5).double()
    hidden = torch.rand(count, labels) < unknown
    hidden[:, 0] &= ~hidden[:, 1:].all(1)  # one state of each image stays known
    return logits, states.masked_fill(hidden, NAN)


@pytest.mark.parametrize("unknown", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("ties", [False, True])
def test_scores_are_those_of_scikit_learn_over_known_states(unknown: float, ties: bool) -> None:
    logits, states = drawn(unknown=unknown, ties=ties)
    scores = multi_label_scores(logits, states)
    known, guessed = ~states.isnan().numpy(), logits.numpy() > 0
    truth = states.nan_to_num(0).numpy().astype(int)
    columns = [(truth[k, n], logits.numpy()[k, n], guessed[k, n]) for n, k in enumerate(known.T)]
    rows = [(truth[n, k], logits.numpy()[n, k], guessed[n, k]) for n, k in enumerate(known)]
    ranked = [(t[None], s[None]) for t, s, _ in rows if 0 < t.sum() < len(t)]

    precision = [metrics.average_precision_score(t, s) for t, s, _ in columns]
    assert_close(scores.average_precision.numpy(), np.array(precision), rtol=1e-6, atol=0)
    assert math.isclose(scores.mean_average_precision, np.mean(precision), rel_tol=1e-6)
    f1 = [metrics.f1_score(t, g) for t, _, g in columns]
    assert_close(scores.f1.numpy(), np.array(f1), rtol=1e-6, atol=0)
    assert math.isclose(scores.macro_f1, np.mean(f1), rel_tol=1e-6)
    assert scores.micro_f1 is not None
    assert math.isclose(scores.micro_f1.mean, metrics.f1_score(truth[known], guessed[known]), rel_tol=1e-12)
    assert math.isclose(scores.hamming_loss.mean, metrics.zero_one_loss(truth[known], guessed[known]), rel_tol=1e-12)
    assert scores.ranking_loss is not None
    losses = [metrics.label_ranking_loss(t, s) for t, s in ranked]
    assert math.isclose(scores.ranking_loss.mean, np.mean(losses), rel_tol=1e-12)
    assert scores.exact_match.mean == np.mean([(t == g).all() for t, _, g in rows])
    assert scores.on.tolist() == [t.sum() for t, _, _ in columns]
    assert scores.off.tolist() == [(1 - t).sum() for t, _, _ in columns]


def test_whole_states_give_the_scores_of_torchmetrics() -> None:
    from torchmetrics.functional import classification as reference

    logits, states = drawn(unknown=0.0)
    scores, truth = multi_label_scores(logits, states), states.long()

    wanted = reference.multilabel_average_precision(logits, truth, 5, average="macro")
    assert math.isclose(scores.mean_average_precision, float(wanted), rel_tol=1e-6)
    assert math.isclose(scores.macro_f1, float(reference.multilabel_f1_score(logits, truth, 5)), rel_tol=1e-6)
    assert math.isclose(
        scores.hamming_loss.mean, float(reference.multilabel_hamming_distance(logits, truth, 5)), rel_tol=1e-6
    )
    assert math.isclose(
        scores.exact_match.mean, float(reference.multilabel_exact_match(logits, truth, 5)), rel_tol=1e-6
    )


def test_scores_are_those_worked_out_by_hand() -> None:
    logits = torch.tensor([[3.0, 0.5, -1.0], [2.0, -2.0, 0.2], [1.0, 0.1, -3.0]])
    states = torch.tensor([[1, 0, NAN], [0, 1, 1], [1, NAN, 0]])
    scores = multi_label_scores(logits, states)

    # Label 0, from high to low: on, off, on. Label 1: off, on. Label 2: on, off.
    assert_close(scores.average_precision, torch.tensor([(1 + 2 / 3) / 2, 1 / 2, 1]).double())
    assert_close(scores.f1, torch.tensor([4 / 5, 0, 1]).double())
    assert_close(scores.micro_f1.mean, 6 / 9)  # type: ignore[union-attr]
    assert_close(scores.hamming_loss.mean, 3 / 7)
    assert scores.ranking_loss.mean == (0 + 1 + 0) / 3  # type: ignore[union-attr]
    assert_close(scores.exact_match.mean, 1 / 3)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_no_logit_is_taken_for_a_probability_and_none_saturates(scale: float) -> None:
    logits, states = drawn(unknown=0.2)
    logits = logits.abs().float()  # all within 0 and 1 for the small scale, whose labels are all on
    assert multi_label_scores(scale * logits, states).summary() == multi_label_scores(logits, states).summary()


def test_what_is_not_defined_is_left_out_of_means() -> None:
    logits = torch.tensor([[1.0, -1.0, 1.0], [1.0, -1.0, -1.0]])
    states = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    scores = multi_label_scores(logits, states)

    assert scores.average_precision.isnan().tolist() == [False, True, True]
    assert scores.f1.isnan().tolist() == [False, True, False]  # label 2: predicted on, wrongly
    assert scores.mean_average_precision == 1
    assert scores.macro_f1 == 0.5

    nothing = multi_label_scores(-torch.ones(2, 1), torch.zeros(2, 1)).summary()
    assert json.loads(json.dumps(nothing, allow_nan=False)) == nothing
    assert [nothing[name] for name in ("mean_average_precision", "macro_f1", "micro_f1", "ranking_loss")] == [None] * 4
    assert nothing["labels"] == [{"average_precision": None, "f1": None, "on": 0, "off": 2}]


def test_values_of_unknown_states_play_no_part() -> None:
    logits, states = drawn()
    other = torch.where(states.isnan(), torch.randn_like(logits), logits)
    assert multi_label_scores(other, states).summary() == multi_label_scores(logits, states).summary()


@pytest.mark.parametrize(
    ("logits", "states", "words"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 2), "at least one image, got none"),
        (torch.zeros(2, 3), torch.zeros(2, 2), r"one logit for each label, \[2, 2\], got \[2, 3\]"),
        (torch.zeros(2, 2), torch.tensor([[0, 3], [1, 1]]), "apply a threshold to intensities"),
        (torch.zeros(1, 2), torch.full((1, 2), NAN), "a known state for each image"),
        (torch.tensor([[NAN, 0.0]]), torch.zeros(1, 2), "finite logits"),
    ],
)
def test_wrong_arguments_are_refused(logits: Any, states: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        multi_label_scores(logits, states)
