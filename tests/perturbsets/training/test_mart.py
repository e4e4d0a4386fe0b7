from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import MART, Adversary, PixelBall, ProjectedGradient
from perturbsets.training.adversarial import boosted

ATTACK = Adversary(PixelBall("linf", 0.2), ascent=ProjectedGradient(3))


def loss_by_hand(model: nn.Module, x: Tensor, changed: Tensor, y: Tensor, weight: float) -> Tensor:
    """The formula with probabilities, image by image, in double precision."""
    losses = []
    for p, q, label in zip(model(x).double().softmax(1), model(changed).double().softmax(1), y.tolist(), strict=True):
        others = torch.cat([q[:label], q[label + 1 :]])
        kl = (p * (p / q).log()).sum()
        losses.append(-q[label].log() - (1 - others.max()).log() + weight * kl * (1 - p[label]))
    return torch.stack(losses)


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_loss_and_gradient_are_those_of_the_formula(weight: float, classes: int) -> None:
    x, y, model = torch.rand(6, 5), torch.randint(0, classes, (6,)), nn.Linear(5, classes)
    method = MART(ATTACK, beta=weight)
    changed = method.prepare(model, x, y, torch.Generator().manual_seed(3))
    losses, logits = method.losses(model, x, changed, y)
    expected = loss_by_hand(model, x, changed, y, weight)

    assert_close(losses, expected.float())
    assert_close(logits, model(changed))
    got, want = (torch.autograd.grad(v.mean(), list(model.parameters())) for v in (losses, expected))
    assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_boosted_loss_is_exact_where_the_wrong_probability_rounds_to_one() -> None:
    # Logits (a, 0, 0) with label 1: a + ln(1 + 2 e^-a) from the true class, and as much less ln 2 from the other.
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    value = boosted(logits, torch.tensor([1]))
    value.sum().backward()

    assert_close(value.detach(), torch.tensor([400.0 - math.log(2)]))
    assert_close(logits.grad, torch.tensor([[2.0, -1.5, -0.5]]))


def test_images_shown_are_those_the_adversary_finds() -> None:
    x, y, model = torch.rand(6, 5), torch.randint(0, 3, (6,)), nn.Linear(5, 3)
    found = ATTACK(model, x, y, generator=torch.Generator().manual_seed(4))

    assert torch.equal(MART(ATTACK).prepare(model, x, y, torch.Generator().manual_seed(4)), found.images)


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_weights_that_cannot_be_meant_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=f"beta must be a finite number of 0 or more, got {weight}"):
        MART(ATTACK, beta=weight)
