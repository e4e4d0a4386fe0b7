from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    MART,
    TRADES,
    AdversarialTraining,
    AdversarialWeightPerturbation,
    Adversary,
    GradientAlignment,
    KLDivergence,
    OneUpdate,
    PixelBall,
    ProjectedGradient,
    StandardTraining,
)

ATTACK = Adversary(PixelBall("linf", 0.2), ascent=ProjectedGradient(2))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(6, 5), torch.randint(0, 3, (6,))


def update(method: OneUpdate, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    ((losses, _),) = method(model, model, x, y, torch.Generator().manual_seed(2))
    return losses


def test_loss_and_gradient_are_those_at_the_moved_weights() -> None:
    (x, y), model = batch(), network()
    method = AdversarialWeightPerturbation(StandardTraining(), gamma=0.3)
    moved, other = copy.deepcopy(model), copy.deepcopy(model)
    F.cross_entropy(other(x), y).backward()
    with torch.no_grad():  # the definition, in place on a copy
        for weight, at in zip(moved.parameters(), other.parameters(), strict=True):
            if weight.ndim > 1:
                weight += 0.3 * weight.norm() / at.grad.norm() * at.grad
    losses = update(method, model, x, y)
    losses.mean().backward()
    expected = F.cross_entropy(moved(x), y, reduction="none")
    expected.mean().backward()

    assert_close(losses, expected)
    for got, want in zip(model.parameters(), moved.parameters(), strict=True):
        assert_close(got.grad, want.grad)


@pytest.mark.parametrize(
    "inside",
    [
        StandardTraining(),
        AdversarialTraining(ATTACK),
        MART(ATTACK),
        TRADES(Adversary(PixelBall("linf", 0.2), KLDivergence(), ProjectedGradient(2))),
        GradientAlignment(StandardTraining(), perturbations=PixelBall("l2", 0.1), weight=1.0),
    ],
)
def test_moved_weights_have_the_higher_loss_of_any_method(inside: OneUpdate) -> None:
    (x, y), model = batch(), network()
    plain, moved = (
        update(method, model, x, y) for method in (inside, AdversarialWeightPerturbation(inside, gamma=1e-3))
    )

    assert moved.mean() > plain.mean()


def test_nothing_is_left_behind_but_one_pass_in_the_statistics() -> None:
    (x, y), model = batch(), network()
    before, twin = copy.deepcopy(model.state_dict()), copy.deepcopy(model)
    method = AdversarialWeightPerturbation(StandardTraining(), gamma=0.1)
    shown = method.prepare(model, x, y, torch.Generator())

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    method.losses(model, x, shown, y)
    twin(x)
    assert_close(dict(model.named_parameters()), dict(twin.named_parameters()), rtol=0, atol=0)
    assert model[1].num_batches_tracked == 1


def test_layers_that_are_frozen_or_have_no_gradient_stay() -> None:
    (x, y), model = batch(), nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    model[0].bias.fill_(-100.0)  # nothing passes: the gradient of the last weight is zero
    _, moves = AdversarialWeightPerturbation(StandardTraining()).prepare(model, x, y, torch.Generator())

    assert moves[0] is moves[1] is moves[3] is None
    assert torch.equal(moves[2], torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "gamma must be a finite number above 0, got 0.0"),
        ({"gamma": math.nan}, "gamma must be a finite number above 0, got nan"),
        (
            {"method": AdversarialWeightPerturbation(StandardTraining())},
            "method must not move weights itself, got AdversarialWeightPerturbation",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialWeightPerturbation(**{"method": StandardTraining(), **arguments})
