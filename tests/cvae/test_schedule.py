from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import Draws, LoopSettings, train
from cvae.batches import Steps

pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # SequentialLR of torch 2.6
STEPS = 12
SETTINGS = LoopSettings(steps=STEPS, batch=4, learning_rate=0.1, validate_every=3)


def one_cycle(optimizer: Optimizer) -> LRScheduler:
    return OneCycleLR(optimizer, max_lr=0.2, total_steps=STEPS)


def cosine(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=STEPS, eta_min=0.001)


def milestones(optimizer: Optimizer) -> LRScheduler:
    return MultiStepLR(optimizer, [3, 8], gamma=0.3)


def one_after_the_other(optimizer: Optimizer) -> LRScheduler:
    return SequentialLR(optimizer, [MultiStepLR(optimizer, [2]), CosineAnnealingLR(optimizer, T_max=6)], [5])


SCHEDULES = [one_cycle, cosine, milestones, one_after_the_other]


def rows() -> TensorDataset:
    inputs = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def squared(stop: int | None = None) -> Any:
    def loss(model: nn.Module, batch: Any, draws: Draws) -> Iterator[Mapping[str, Tensor]]:
        if draws.step == stop:
            raise KeyboardInterrupt
        yield {"loss": (model(batch[0]) - batch[1]).square().mean()}

    return loss


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_training_is_that_of_a_plain_loop_of_torch(schedule: Any) -> None:
    model, twin = linear(), linear()
    train(model, squared(), rows(), SETTINGS, schedule=schedule)
    optimizer = torch.optim.AdamW(twin.parameters(), SETTINGS.learning_rate, weight_decay=0.0)
    made = schedule(optimizer)
    batches = Steps(rows(), 4, seed=0)
    for step in range(STEPS):
        inputs, targets = batches[step]
        optimizer.zero_grad()
        (twin(inputs) - targets).square().mean().backward()
        nn.utils.clip_grad_norm_(twin.parameters(), SETTINGS.clip)
        optimizer.step()
        if step + 1 < STEPS:
            made.step()

    assert_close(model.weight, twin.weight)
    assert_close(model.bias, twin.bias)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("cut", [4, 9])
def test_stopped_training_continues_to_the_same_numbers(tmp_path: Path, schedule: Any, cut: int) -> None:
    whole, resumed = linear(), linear()
    expected = train(whole, squared(), rows(), SETTINGS, schedule=schedule, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(linear(), squared(cut), rows(), SETTINGS, schedule=schedule, folder=tmp_path / "cut")
    got = train(resumed, squared(), rows(), SETTINGS, schedule=schedule, folder=tmp_path / "cut")

    assert got == expected
    assert_close(dict(resumed.named_parameters()), dict(whole.named_parameters()), rtol=0, atol=0)


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path: Path) -> None:
    train(linear(), squared(), rows(), SETTINGS, schedule=one_cycle, folder=tmp_path)
    others = [None, cosine, lambda optimizer: OneCycleLR(optimizer, max_lr=0.21, total_steps=STEPS)]
    for other in others:
        with pytest.raises(ValueError, match="other settings"):
            train(linear(), squared(), rows(), SETTINGS, schedule=other, folder=tmp_path)
    train(linear(), squared(), rows(), SETTINGS, schedule=one_cycle, folder=tmp_path)


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (
            lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=5),
            ValueError,
            "must last for 12 steps, got a OneCycleLR that ends before step 7",
        ),
        (ReduceLROnPlateau, ValueError, "got ReduceLROnPlateau: use one with milestones"),
        (lambda optimizer: 0.1, TypeError, "schedule must make a torch.optim.lr_scheduler.LRScheduler .* got float"),
    ],
)
def test_schedules_that_cannot_be_followed_are_refused_before_any_step(
    schedule: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(linear(), squared(0), rows(), SETTINGS, schedule=schedule)
