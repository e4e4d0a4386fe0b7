from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    APGD,
    TRADES,
    Adversary,
    CrossEntropy,
    GradientAscent,
    KLDivergence,
    OneStep,
    PixelBall,
    ProjectedGradient,
)

BALL = PixelBall("linf", 0.2)
ATTACK = Adversary(BALL, KLDivergence(), ProjectedGradient(3))


def loss_by_hand(model: nn.Module, x: Tensor, changed: Tensor, y: Tensor, weight: float) -> Tensor:
    """Equation 5 with probabilities, in double precision."""
    p, q = (model(images).double().softmax(1) for images in (x, changed))
    natural = -p[torch.arange(len(y)), y].log()
    return natural + weight * (p * (p / q).log()).sum(1)


def batch() -> tuple[Tensor, Tensor, nn.Module]:
    return torch.rand(6, 5), torch.randint(0, 3, (6,)), nn.Linear(5, 3)


@pytest.mark.parametrize("weight", [0.0, 1.0, 6.0])
def test_loss_and_gradient_are_those_of_the_formula(weight: float) -> None:
    x, y, model = batch()
    method = TRADES(ATTACK, beta=weight)
    changed = method.prepare(model, x, y, torch.Generator().manual_seed(3))
    losses, logits = method.losses(model, x, changed, y)
    expected = loss_by_hand(model, x, changed, y, weight)

    assert_close(losses, expected.float())
    assert_close(logits, model(changed))
    got, want = (torch.autograd.grad(v.mean(), list(model.parameters())) for v in (losses, expected))
    assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_the_images_shown_diverge_more_than_random_ones_and_lie_in_the_set() -> None:
    x, y, model = batch()
    changed = TRADES(ATTACK).prepare(model, x, y, torch.Generator().manual_seed(3))
    region = BALL.at(x)
    drawn = region.decode(region.random_start(generator=torch.Generator().manual_seed(3)))

    diverged, random = (loss_by_hand(model, x, images, y, 1e6) for images in (changed, drawn))
    assert (diverged > random).all()
    assert ((changed - x).abs() <= 0.2 + 1e-6).all()


@pytest.mark.parametrize(
    ("adversary", "message"),
    [
        (Adversary(BALL, CrossEntropy(), ProjectedGradient(3)), "objective KLDivergence, got CrossEntropy: write"),
        (Adversary(BALL, KLDivergence(), OneStep()), 'not start at zero.* got OneStep: give .* starts="uniform"'),
        (Adversary(BALL, KLDivergence(), APGD(steps=5, starts="zero")), "not start at zero.* got APGD"),
        (Adversary(BALL, KLDivergence(), GradientAscent(step_size=0.1)), "not start at zero.* got GradientAscent"),
    ],
)
def test_adversaries_that_would_find_nothing_are_refused(adversary: Adversary, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRADES(adversary)


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_weights_that_cannot_be_meant_are_refused(weight: Any) -> None:
    with pytest.raises(ValueError, match=f"beta must be a finite number of 0 or more, got {weight}"):
        TRADES(ATTACK, beta=weight)
