from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import ApproximationError, CrossEntropy, Margin, Objective

LOGITS = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 0.5], [1.0, 1.5, 4.0], [-2.0, 0.3, 0.1]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 2])


def value(objective: Objective, labels: Tensor = LABELS) -> tuple[Tensor, Tensor]:
    return objective.at(nn.Identity(), LOGITS, labels)(LOGITS, LOGITS)


def test_cross_entropy_agrees_with_its_formula() -> None:
    losses, reached = value(CrossEntropy())
    logits = LOGITS.numpy()
    by_hand = special.logsumexp(logits, axis=1) - logits[np.arange(4), LABELS.numpy()]

    assert_close(losses, torch.from_numpy(by_hand))
    assert reached.tolist() == [False, True, True, True]


def test_margin_agrees_with_its_formula() -> None:
    losses, reached = value(Margin())

    assert_close(losses, torch.tensor([1.0 - 2.0, 3.0 - 0.0, 4.0 - 1.5, 0.3 - 0.1], dtype=torch.float64))
    assert reached.tolist() == (losses > 0).tolist()


@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
def test_targets_turn_the_sign_and_the_goal(kind: type[CrossEntropy | Margin]) -> None:
    away, reached_away = value(kind())
    to, reached_to = value(kind(targeted=True))

    assert_close(to, -away)
    assert (reached_to == ~reached_away).all()


@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
def test_losses_do_not_mix_images(kind: type[Objective]) -> None:
    rows = torch.tensor([3, 1])
    loss = kind().at(nn.Identity(), LOGITS, LABELS)

    assert_close(loss.keep(rows)(LOGITS[rows], LOGITS[rows])[0], loss(LOGITS, LOGITS)[0][rows])


@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_labels_of_any_whole_type_do(kind: type[Objective], dtype: torch.dtype) -> None:
    assert_close(value(kind(), LABELS.to(dtype))[0], value(kind())[0])


@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
def test_no_model_is_refused(kind: type[Objective]) -> None:
    with pytest.raises(ValueError, match="model must be a classifier"):
        kind().at(None, LOGITS, LABELS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Unflatten(1, (3, 1)), r"model must return logits \[B, K\] with B = 4, got \[4, 3, 1\]"),
        (nn.Flatten(0), r"got \[12\]"),
        (nn.AdaptiveAvgPool1d(1), "at least 2 classes, got 1"),
    ],
)
def test_logits_that_are_none_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy().at(model, LOGITS, LABELS)(LOGITS, LOGITS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), "labels must be within 0 and 2 for a model of 3 classes, got 0 to 3"),
        (torch.tensor([0, 1, -1, 2]), "got -1 to 2"),
        (torch.tensor([0.0, 1.0, 1.0, 2.0]), r"got \[4\] of torch.float32"),
        (torch.tensor([[0], [1], [1], [2]]), r"got \[4, 1\]"),
        (torch.tensor([0, 1]), r"\[4\], got \[2\]"),
    ],
)
@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
def test_labels_that_do_not_fit_are_refused(kind: type[Objective], labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value(kind(), labels)


def test_margin_rises_where_cross_entropy_is_flat() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    for kind, slope in ((CrossEntropy, 0.0), (Margin, -1.0)):
        (gradient,) = torch.autograd.grad(kind().at(nn.Identity(), logits, label)(logits, logits)[0].sum(), logits)
        assert_close(gradient[0, 0], torch.tensor(slope))


def test_approximation_error_is_minus_the_mean_square() -> None:
    images, changed = torch.rand(3, 1, 2, 2), torch.rand(3, 1, 2, 2)
    loss = ApproximationError().at(None, images, changed)
    losses, reached = loss(images, images.flatten(1))
    rows = torch.tensor([2])

    for row in range(3):
        assert math.isclose(losses[row].item(), -((images[row] - changed[row]) ** 2).mean().item(), rel_tol=1e-5)
    assert not reached.any()
    assert_close(loss.keep(rows)(images[rows], images[rows].flatten(1))[0], losses[rows])
    with pytest.raises(ValueError, match="labels must be the changed images"):
        ApproximationError().at(None, images, changed[:, :, :1])
