from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import BinaryCrossEntropy, Objective
from perturbsets.objectives.multi_label.binary_cross_entropy import binary_cross_entropy

NAN = float("nan")
DOUBLE = torch.float64
LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.0], [-3.0, 1.0, 0.2, 4.0], [0.3, 0.1, -0.2, -5.0]], dtype=DOUBLE)
STATES = torch.tensor([[1.0, 0.0, NAN, 0.0], [1.0, 0.0, 0.0, NAN], [NAN, NAN, NAN, 0.0]], dtype=DOUBLE)


def judged(objective: Objective, states: Tensor = STATES, logits: Tensor = LOGITS) -> tuple[Tensor, Tensor]:
    return objective.at(nn.Identity(), logits, states)(logits, logits)


def pairs(row: int) -> list[tuple[int, float, float]]:
    """Number, logit and state of the known labels of an image."""
    return [(j, float(LOGITS[row, j]), float(STATES[row, j])) for j in range(4) if not STATES[row, j].isnan()]


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 0.0, 3.0], dtype=DOUBLE)])
@pytest.mark.parametrize("positive", [None, torch.tensor([4.0, 1.0, 0.1, 2.0], dtype=DOUBLE)])
def test_cross_entropy_agrees_with_its_formula(weights: Tensor | None, positive: Tensor | None) -> None:
    losses = binary_cross_entropy(LOGITS, STATES, weights, positive)
    for row in range(3):
        terms = [
            -(1 if weights is None else float(weights[j]))
            * special.log_expit(logit if on else -logit)
            * (float(positive[j]) if on and positive is not None else 1)
            for j, logit, on in pairs(row)
        ]
        assert_close(losses[row], torch.tensor(sum(terms) / len(terms), dtype=DOUBLE))


def test_cross_entropy_is_that_of_torch_where_all_states_are_known() -> None:
    logits, states = torch.randn(6, 5), torch.randint(0, 2, (6, 5)).float()
    weights, positive = torch.rand(5), 5 * torch.rand(5)
    theirs = nn.BCEWithLogitsLoss(weights, pos_weight=positive)(logits, states)

    assert_close(binary_cross_entropy(logits, states, weights, positive).mean(), theirs)


def test_unknown_states_have_no_loss_and_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    losses = binary_cross_entropy(logits, STATES)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)

    assert torch.equal(gradient == 0, STATES.isnan())
    assert binary_cross_entropy(LOGITS[:1], torch.full((1, 4), NAN, dtype=DOUBLE)).tolist() == [0.0]


def test_cross_entropy_is_raised_from_the_truth_and_lowered_to_a_target() -> None:
    away, any_wrong = judged(BinaryCrossEntropy())
    _, all_wrong = judged(BinaryCrossEntropy(goal="all"))
    to, asked = judged(BinaryCrossEntropy(targeted=True))

    assert_close(away, binary_cross_entropy(LOGITS, STATES))
    assert_close(to, -away)
    # Right, right and off at a logit of 0; wrong in all three; right in the only one known.
    assert any_wrong.tolist() == all_wrong.tolist() == [False, True, False]
    assert asked.tolist() == [True, False, True]
    one_wrong = STATES.clone().index_put_((torch.tensor([0]), torch.tensor([0])), torch.tensor(0.0).double())
    assert judged(BinaryCrossEntropy(), one_wrong)[1].tolist() == [True, True, False]
    assert judged(BinaryCrossEntropy(goal="all"), one_wrong)[1].tolist() == [False, True, False]


def test_weights_leave_the_goal_alone() -> None:
    weighted, reached = judged(BinaryCrossEntropy(weights=(0.0, 1.0, 2.0, 0.0)))

    assert_close(weighted, binary_cross_entropy(LOGITS, STATES, torch.tensor([0.0, 1.0, 2.0, 0.0])))
    assert reached.tolist() == judged(BinaryCrossEntropy())[1].tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": (1.0, -1.0)}, "weights must be 0 or more and finite"),
        ({"weights": (1.0, NAN)}, "weights must be 0 or more and finite"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": ()}, "one for each label"),
        ({"goal": "most"}, "goal.*'most'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):  # the checker of types may come first
        BinaryCrossEntropy(**wrong)


def test_weights_of_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be one for each of the 4 labels, got 3"):
        judged(BinaryCrossEntropy(weights=(1.0, 1.0, 1.0)))
