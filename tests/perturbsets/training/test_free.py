from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import LoopSettings
from perturbsets import FreeAdversarialTraining, LatentBall, PerturbationSet, PixelBall, SpatialBox, train_classifier


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 3))


def run(method: FreeAdversarialTraining, model: nn.Module, x: Tensor, y: Tensor, rate: float) -> list[Tensor]:
    """Plain gradient descent with the method; the losses on the way."""
    values = []
    for losses, _ in method(model, model, x, y, torch.Generator().manual_seed(5)):
        losses.mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * parameter.grad
        model.zero_grad()
        values.append(losses.detach())
    return values


def test_steps_are_those_of_the_algorithm() -> None:
    x, y, model, twin = torch.rand(5, 1, 2, 3), torch.randint(0, 3, (5,)), linear(), linear()
    values = run(FreeAdversarialTraining(PixelBall("linf", 0.1), replays=4, step_size=0.05), model, x, y, rate=0.2)
    region = PixelBall("linf", 0.1).at(x)
    offset = region.random_start(generator=torch.Generator().manual_seed(5)).view_as(x)
    for number in range(4):  # algorithm 1 of the paper for one batch
        changed = (x + offset).requires_grad_()
        losses = F.cross_entropy(twin(changed), y, reduction="none")
        losses.mean().backward()
        assert_close(values[number], losses.detach())
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter -= 0.2 * parameter.grad
            offset = (offset + 0.05 * changed.grad.sign()).clamp(-0.1, 0.1)
            offset = (x + offset).clamp(0, 1) - x
        twin.zero_grad()

    assert_close(dict(model.named_parameters()), dict(twin.named_parameters()))


@pytest.mark.parametrize("perturbations", [PixelBall("l2", 0.3), PixelBall("l1", 1.0), SpatialBox()])
def test_where_the_weights_stay_the_loss_of_a_linear_model_climbs(perturbations: PerturbationSet) -> None:
    x, y = torch.rand(20, 1, 2, 3), torch.randint(0, 3, (20,))
    values = run(FreeAdversarialTraining(perturbations, replays=6, step_size=0.1), linear(), x, y, rate=0.0)

    assert values[-1].mean() > values[0].mean()


def test_the_default_step_is_the_radius() -> None:
    x, y = torch.rand(5, 1, 2, 3), torch.randint(0, 3, (5,))
    radii = torch.linspace(0.05, 0.2, 5)
    default, given = (
        run(FreeAdversarialTraining(PixelBall("linf", radii), replays=3, step_size=size), linear(), x, y, 0.1)
        for size in (None, radii)
    )

    assert_close(default, given, rtol=0, atol=0)


def test_a_learned_set_gathers_no_gradients(linear_cvae: Any) -> None:
    ball = LatentBall(linear_cvae(), 1.0)
    ball.model.requires_grad_(True)
    data = TensorDataset(torch.rand(8, 1, 2, 3), torch.randint(0, 3, (8,)))
    train_classifier(linear(), data, FreeAdversarialTraining(ball, replays=2), LoopSettings(steps=2, batch=4))

    assert all(parameter.grad is None for parameter in ball.model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"replays": 0}, "replays must be at least 1, got 0"), ({"step_size": 0.0}, "step_size must be above 0")],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FreeAdversarialTraining(PixelBall("linf", 0.1), **settings)
