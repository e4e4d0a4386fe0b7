"""Smallest changes, where they are known, and beside the search by halving."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from perturbsets import Adversary, Margin, PixelBall, ProjectedGradient, bisect, fast_minimum_norm

NORMS: list[Any] = ["l1", "l2", "linf"]


@pytest.mark.parametrize(("norm", "dual"), [("l1", math.inf), ("l2", 2.0), ("linf", 1.0)])
def test_linear_models_fall_at_margin_over_dual_norm(norm: Any, dual: float) -> None:
    model = nn.Linear(6, 2).double()
    x = 0.5 + 0.02 * torch.randn(8, 6, dtype=torch.float64)  # far from the bounds
    with torch.no_grad():
        model.bias -= model(x).mean(0) + torch.tensor([0.05, 0.0], dtype=torch.float64)
    y = model(x).argmax(1)
    found = fast_minimum_norm(model, x, y, norm=norm, steps=300)
    weights = (model.weight[0] - model.weight[1]).detach()
    exact = (model(x)[:, 0] - model(x)[:, 1]).abs().detach() / weights.norm(p=dual)

    assert_close(found.radii, exact, rtol=1e-2, atol=1e-6)
    assert (found.radii >= exact * (1 - 1e-9)).all()
    assert_close((found.images - x).norm(p=float(norm[1:]), dim=1), found.radii)


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 30), nn.Tanh(), nn.Dropout(), nn.Linear(30, 4))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_radii_are_as_small_as_those_of_halving(norm: Any, targeted: bool) -> None:
    model, x = network().train(), torch.rand(20, 1, 6, 6)
    y = (model.eval()(x).argmax(1) + targeted) % 4
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = fast_minimum_norm(model, x, y, norm=norm, targeted=targeted, steps=200)
    search = Adversary(PixelBall(norm, 1.0), Margin(targeted=targeted), ProjectedGradient(40, starts="zero"))
    slow = bisect(search, model, x, y, largest=40.0 if norm == "l1" else 4.0, rounds=14)

    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert ((model.eval()(fast.images).argmax(1) == y) == targeted).all()
    assert 0 <= fast.images.min() <= fast.images.max() <= 1
    assert fast.radii.median() <= 1.05 * slow.radii.median()
    assert int(fast.calls.sum()) < int(slow.calls.sum())


def test_wrong_images_are_at_zero_and_unturned_ones_at_infinity() -> None:
    x, y = torch.rand(3, 4), torch.tensor([0, 1, 0])

    class Flat(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(images), 2) + 0 * images.sum(1, keepdim=True)

    found = fast_minimum_norm(Flat(), x, y)
    assert found.radii.tolist() == [math.inf, 0.0, math.inf]
    assert_close(found.images, x, rtol=0, atol=0)


@pytest.mark.parametrize("count", [0, 1])
def test_small_batches_and_no_grad(count: int) -> None:
    x = torch.rand(count, 1, 6, 6)
    with torch.no_grad():
        found = fast_minimum_norm(network(), x, torch.zeros(count, dtype=torch.long), steps=3)

    assert found.images.shape == x.shape
    assert not found.images.requires_grad
    assert found.calls.tolist() == [4] * count


@pytest.mark.parametrize("setting", [{"steps": 0}, {"step_size": 0.0}, {"rate": 1.0}])
def test_impossible_settings_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, step_size above 0 and rate in"):
        fast_minimum_norm(nn.Linear(2, 2), torch.rand(1, 2), torch.tensor([0]), **setting)
