"""Errors of many a tutorial: a ball around the moving point, and the gradient of probabilities that sum up to one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from perturbsets import (
    APGD,
    Adversary,
    Ascent,
    CrossEntropy,
    FunctionObjective,
    GradientAscent,
    Margin,
    PixelBall,
    ProjectedAdam,
    ProjectedGradient,
    ProjectedLBFGS,
    audit,
)

RADIUS, STEPS, SIZE = 0.05, 60, 0.02


def linear(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes)).double()


def uphill(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(Margin().at(model, x, y)(x, x.flatten(1))[0].sum(), x)[0]


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2), ("linf", math.inf)])
@pytest.mark.parametrize(
    "ascent",
    [
        GradientAscent(step_size=1.0, steps=STEPS),
        ProjectedGradient(STEPS, step_size=SIZE),
        ProjectedGradient(STEPS, step_size=SIZE, restarts=3, momentum=1.0),
        ProjectedAdam(STEPS, step_size=SIZE),
        APGD(STEPS, step_size=SIZE),
        ProjectedLBFGS(STEPS),
    ],
)
def test_many_steps_stay_in_the_ball_around_the_clean_image(norm: Any, order: float, ascent: Ascent) -> None:
    model, x, y = linear(2), torch.full((4, 1, 6, 6), 0.5, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    found = Adversary(PixelBall(norm, RADIUS), Margin(), ascent)(model, x, y)

    # Around the moving point no step of this size is ever cut, and all of them add up, to the bounds in the end.
    moving = x.clone()
    for _ in range(STEPS):
        target = moving + SIZE * uphill(model, moving, y).sign()
        moving = target.clamp(moving - RADIUS, moving + RADIUS).clamp(0, 1)
    assert (moving - x).abs().amax() == 0.5

    assert ((found.images - x).flatten(1).norm(p=order, dim=1) <= RADIUS * (1 + 1e-12)).all()


def total(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of all probabilities, which is one whatever comes."""
    return logits.softmax(1).sum(1)


@pytest.mark.parametrize("classes", [3, 10, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_summed_probabilities_lead_nowhere_and_the_audit_notices(classes: int, dtype: torch.dtype) -> None:
    model, x = linear(classes).to(dtype), torch.rand(40, 1, 6, 6, dtype=dtype)
    y = model(x).argmax(1)
    gradients = []
    for objective in (FunctionObjective(total), CrossEntropy()):
        u = torch.zeros(40, 36, dtype=dtype, requires_grad=True)
        value, _ = objective.at(model, x, y)(x + u.view_as(x), u)
        gradients.append(torch.autograd.grad(value.sum(), u)[0].abs().sum(1))
    assert (gradients[0] <= 1e-5 * gradients[1]).all()  # nothing but rounding, which is not always zero
    assert (gradients[1] > 0).all()

    wrong = FunctionObjective(total, success=lambda logits, labels: logits.argmax(1) != labels)
    for objective, sound in ((wrong, False), (CrossEntropy(), True)):
        attack = Adversary(PixelBall("linf", 0.1), objective, ProjectedGradient(3))
        check = next(c for c in audit(attack, model, x, y, draws=2).checks if c.name == "gradients are sound")
        assert check.passed is sound
        assert check.figure.startswith("0.0 %" if sound else "100.0 %")
