from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    AdversarialTraining,
    AdversarialWeightPerturbation,
    Adversary,
    GradientAlignment,
    LatentBall,
    OneStep,
    PixelBall,
    StandardTraining,
)
from perturbsets.training.addons import misalignment


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def offset_gradients(model: nn.Module, region: Any, offsets: Tensor, y: Tensor) -> Tensor:
    """Central differences of each image's loss."""
    columns = []
    for column in range(offsets.shape[1]):
        step = torch.zeros_like(offsets)
        step[:, column] = 1e-5
        high, low = (F.cross_entropy(model(region.decode(offsets + s)), y, reduction="none") for s in (step, -step))
        columns.append((high - low) / 2e-5)
    return torch.stack(columns, 1)


@pytest.mark.parametrize("learned", [False, True])
def test_price_is_one_minus_the_cosine_of_numerical_gradients(linear_cvae: Any, learned: bool) -> None:
    perturbations = LatentBall(linear_cvae().double(), 2.0) if learned else PixelBall("linf", 0.3)
    x, y, model = 0.3 + 0.3 * torch.rand(5, 1, 2, 3).double(), torch.randint(0, 3, (5,)), network()
    method = GradientAlignment(StandardTraining(), perturbations=perturbations, weight=2.0)
    shown = method.prepare(model, x, y, torch.Generator().manual_seed(1))
    losses, logits = method.losses(model, x, shown, y)
    region = perturbations.at(x)
    ends = [offset_gradients(model, region, offsets, y) for offsets in (region.centre(), shown[1])]

    price = 2.0 * (1 - F.cosine_similarity(*ends))
    assert_close(losses, F.cross_entropy(model(x), y, reduction="none") + price, rtol=1e-3, atol=1e-5)
    assert_close(logits, model(x))
    assert (price > 1e-6).any()


def test_gradient_of_the_price_is_that_of_numerical_differences() -> None:
    x, y, model = torch.rand(5, 1, 2, 3).double(), torch.randint(0, 3, (5,)), network()
    method = GradientAlignment(StandardTraining(), perturbations=PixelBall("l2", 0.5), weight=3.0)
    shown = method.prepare(model, x, y, torch.Generator().manual_seed(1))
    weight = model[1].weight
    (gradient,) = torch.autograd.grad(method.losses(model, x, shown, y)[0].mean(), weight)
    direction = torch.randn_like(weight)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * 1e-5 * direction
        values.append(method.losses(model, x, shown, y)[0].mean().detach())
        with torch.no_grad():
            weight -= sign * 1e-5 * direction

    assert_close((gradient * direction).sum(), (values[0] - values[1]) / 2e-5, rtol=1e-5, atol=1e-8)


def test_a_model_that_is_linear_between_two_classes_pays_nothing() -> None:
    # Two classes: the gradient is a positive multiple of the difference of the rows, wherever one looks.
    x, y, model = torch.rand(5, 6), torch.randint(0, 2, (5,)), nn.Linear(6, 2)
    method = GradientAlignment(StandardTraining(), perturbations=PixelBall("linf", 0.2), weight=7.0)
    ((losses, logits),) = method(model, model, x, y, torch.Generator().manual_seed(0))

    assert_close(losses, F.cross_entropy(logits, y, reduction="none"))


def test_training_with_the_price_lowers_it() -> None:
    x, y, model = torch.rand(32, 1, 2, 3), torch.randint(0, 3, (32,)), network().float()
    ball = PixelBall("linf", 0.3)
    fast = AdversarialTraining(Adversary(ball, ascent=OneStep(starts="uniform")))
    prices = {}
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        model = network().float()
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        method = GradientAlignment(fast, perturbations=ball, weight=weight)
        for step in range(60):
            ((losses, _),) = method(model, model, x, y, torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
        judge = GradientAlignment(StandardTraining(), perturbations=ball, weight=1.0)
        ((losses, logits),) = judge(model, model, x, y, torch.Generator().manual_seed(0))
        prices[weight] = (losses - F.cross_entropy(logits, y, reduction="none")).mean().item()

    assert prices[5.0] < 0.2 * prices[0.0]


def test_images_without_a_gradient_pay_nothing_and_small_gradients_count() -> None:
    first = torch.tensor([[0.0, 0.0], [1e-25, 0.0], [3.0, 0.0], [0.0, 0.0]], requires_grad=True)
    second = torch.tensor([[0.0, 1.0], [0.0, 1e-25], [-1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    price = misalignment(first, second)
    price.sum().backward()

    assert_close(price.detach(), torch.tensor([0.0, 1.0, 2.0, 0.0]))
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


def test_a_learned_set_gathers_no_gradients(linear_cvae: Any) -> None:
    ball, x, y = LatentBall(linear_cvae(), 1.0), torch.rand(5, 1, 2, 3), torch.randint(0, 3, (5,))
    model = network().float()
    ((losses, _),) = GradientAlignment(StandardTraining(), perturbations=ball)(
        model, model, x, y, torch.Generator().manual_seed(0)
    )
    losses.mean().backward()

    assert all(parameter.grad is None for parameter in ball.model.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -0.1}, "weight must be a finite number of 0 or more, got -0.1"),
        ({"weight": math.inf}, "weight must be a finite number of 0 or more, got inf"),
        (
            {"method": AdversarialWeightPerturbation(StandardTraining())},
            r"write AdversarialWeightPerturbation\(GradientAlignment\(method",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientAlignment(**{"method": StandardTraining(), "perturbations": PixelBall("linf", 0.1), **arguments})
