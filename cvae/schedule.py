"""Learning rates as a table: what a schedule sets before a step is a function of the step's number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

MOVED = ("lr", "betas")  # what torch's schedules change in AdamW

Schedule = Callable[[Optimizer], LRScheduler]
Options = dict[str, Any]


def tabulate(schedule: Schedule, steps: int, learning_rate: float) -> list[Options]:
    """What a schedule of torch sets in the optimizer, step by step.

    A run that continues looks up its step instead of stepping a schedule forward, so its numbers are the same.

    Args:
        schedule: From an optimizer to its schedule, for example
            ``lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=1000)``.
        steps: Number of steps; the schedule is stepped once between two of them.
        learning_rate: Rate of the optimizer that the schedule is given.

    Returns:
        The options of each step, for every parameter group.

    Raises:
        TypeError: If ``schedule`` makes something else.
        ValueError: If the schedule asks for more than the step's number, or ends before the last step.
    """
    stand_in = torch.optim.AdamW([nn.Parameter(torch.zeros(()))], learning_rate)
    made = schedule(stand_in)
    if not isinstance(made, LRScheduler):
        raise TypeError(
            f"schedule must make a torch.optim.lr_scheduler.LRScheduler from an optimizer, got {type(made).__name__}: "
            "give e.g. `lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps)`"
        )
    if isinstance(made, ReduceLROnPlateau):
        raise ValueError(
            "schedule must depend on the step alone, so that a killed run continues to the same weights, got "
            "ReduceLROnPlateau: use one with milestones, e.g. MultiStepLR"
        )
    stand_in.step()  # without gradients it moves nothing; schedules warn unless a step came first
    table: list[Options] = []
    for step in range(steps):
        if step:
            _advance(made, step, steps)
        table.append({key: stand_in.param_groups[0][key] for key in MOVED})
    return table


def _advance(schedule: LRScheduler, step: int, steps: int) -> None:
    try:
        schedule.step()
    except ValueError as error:
        raise ValueError(
            f"schedule must last for {steps} steps, got a {type(schedule).__name__} that ends before step {step + 1}: "
            f"{error}"
        ) from error


def digest(table: list[Options]) -> str:
    """Sixteen hexadecimal digits that differ when a rate of a table differs."""
    return hashlib.sha256(repr(table).encode()).hexdigest()[:16]
