"""Fast adversarial training against its algorithm written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from perturbsets import FastAdversarialTraining, LatentBall, PixelBall
from perturbsets.sets import L2Ball, LinfBall


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 9), nn.Tanh(), nn.Dropout(), nn.Linear(9, 3)).double()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_images_shown_are_those_of_the_published_algorithm(norm: Any) -> None:
    radius, size = (0.3, 0.375) if norm == "linf" else (1.0, 1.25)
    ball = (LinfBall if norm == "linf" else L2Ball)(radius)
    x, y, model = torch.rand(6, 1, 5, 5).double().round(), torch.arange(6) % 3, network().train()
    method = FastAdversarialTraining(PixelBall(norm, radius))
    shown = method.prepare(model, x, y, torch.Generator().manual_seed(4))
    assert model.training

    u = ball.uniform(x.flatten(1), torch.Generator().manual_seed(4))
    inside = (x + u.view_as(x)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model.eval()(inside), y, reduction="sum"), inside)
    moved = u + size * ball.steepest(gradient.flatten(1))
    low, high = ball.cut(-x.flatten(1), 1 - x.flatten(1))
    assert_close(shown, x + ball.project_in_box(moved, low, high).view_as(x))


def test_steps_do_not_all_end_in_corners() -> None:
    x, y = torch.zeros(50, 1, 5, 5, dtype=torch.float64), torch.zeros(50, dtype=torch.long)
    shown = FastAdversarialTraining(PixelBall("linf", 0.3)).prepare(network(), x, y, torch.Generator().manual_seed(0))

    # Up from U(-r, r) by 1.25 r: beyond r unless the start is below -r/4, which are 3/8 of all.
    raised = shown[shown > 0]
    share = (raised < 0.3 - 1e-9).double().mean().item()
    assert share == pytest.approx(3 / 8, abs=0.05)
    assert raised.min() >= 0.25 * 0.3 - 1e-9


def test_it_costs_one_gradient_pass(linear_cvae: Any) -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            Counting.calls += 1
            return images.flatten(1)[:, :3]

    x, y = 0.5 * torch.rand(4, 1, 2, 3), torch.tensor([0, 1, 2, 0])
    for perturbations in (PixelBall("l1", 1.0), LatentBall(linear_cvae(), 1.0)):
        Counting.calls = 0
        shown = FastAdversarialTraining(perturbations).prepare(Counting(), x, y, torch.Generator().manual_seed(0))
        assert Counting.calls == 1
        assert not shown.requires_grad


@pytest.mark.parametrize("size", [0.0, -1.0])
def test_steps_that_do_not_climb_are_refused(size: float) -> None:
    with pytest.raises(ValueError, match="step_size must be above 0"):
        FastAdversarialTraining(PixelBall("linf", 0.1), step_size=size)
