"""The same attacks from several libraries, each behind the same call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor, nn

from perturbsets import (
    APGD,
    Adversary,
    CrossEntropy,
    Margin,
    PixelBall,
    ProjectedGradient,
    Square,
    StrongestWrong,
    Worst,
)

CLASSES = 10

Attack = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class Task:
    """What every library is asked to do.

    Args:
        kind: The attack.
        norm: Of the ball.
        radius: Of the ball, in pixel values.
        budget: Steps, of each target where there are targets; or queries.
    """

    kind: Literal["PGD", "APGD-CE", "APGD-T", "Square"]
    norm: Literal["linf", "l2"]
    radius: float
    budget: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.budget}, {self.norm} {self.radius:g}"

    @property
    def step_size(self) -> float:
        """Of projected gradient: a tenth of the radius."""
        return self.radius / 10

    @property
    def calls(self) -> tuple[int, int]:
        """Forward and backward passes that the budget allows for each image."""
        if self.kind == "Square":
            return self.budget, 0
        targets = CLASSES - 1 if self.kind == "APGD-T" else 1
        return targets * (self.budget + 1), targets * self.budget


def implementations(task: Task) -> dict[str, Attack]:
    """The attack of every library that is installed and has it; ours with and without dropping reached images."""
    found: dict[str, Attack] = {"ours": ours(task, drop=True), "ours, none dropped": ours(task, drop=False)}
    if find_spec("torchattacks"):
        found["torchattacks"] = torchattacks(task)
    if find_spec("foolbox") and task.kind == "PGD":
        found["foolbox"] = foolbox(task)
    return found


def ours(task: Task, *, drop: bool) -> Attack:
    """This toolkit's."""
    ball = PixelBall(task.norm, task.radius)
    climb = APGD(task.budget, stop_on_success=drop)
    adversary: Adversary | Worst
    if task.kind == "PGD":
        adversary = Adversary(
            ball, ascent=ProjectedGradient(task.budget, step_size=task.step_size, stop_on_success=drop)
        )
    elif task.kind == "APGD-CE":
        adversary = Adversary(ball, CrossEntropy(), climb)
    elif task.kind == "Square":
        adversary = Adversary(ball, Margin(), Square(task.budget, stop_on_success=drop))
    else:
        adversary = Worst(
            [Adversary(ball, StrongestWrong(rank), climb) for rank in range(1, CLASSES)], drop_successes=drop
        )
    return lambda model, x, y, seed: adversary(model, x, y, generator=torch.Generator().manual_seed(seed)).images


def torchattacks(task: Task) -> Attack:
    """Torchattacks'; what has no seed of its own there draws from torch's."""
    import torchattacks as library

    ball = {"norm": {"linf": "Linf", "l2": "L2"}[task.norm], "eps": task.radius}
    step = {"eps": task.radius, "alpha": task.step_size, "steps": task.budget}

    def run(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        if task.kind == "PGD":
            attack = library.PGD(model, **step) if task.norm == "linf" else library.PGDL2(model, **step)
        elif task.kind == "APGD-CE":
            attack = library.APGD(model, **ball, steps=task.budget, seed=seed)
        elif task.kind == "APGD-T":
            attack = library.APGDT(model, **ball, steps=task.budget, seed=seed, n_classes=CLASSES)
        else:
            attack = library.Square(model, **ball, n_queries=task.budget, seed=seed)
        torch.manual_seed(seed)
        return attack(x, y)

    return run


def foolbox(task: Task) -> Attack:
    """Foolbox's projected gradient, the one attack of these that it has."""
    import foolbox as library

    kind = library.attacks.LinfPGD if task.norm == "linf" else library.attacks.L2PGD
    attack = kind(abs_stepsize=task.step_size, steps=task.budget)

    def run(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
        changed: Tensor = attack(wrapped, x, y, epsilons=task.radius)[1]
        return changed

    return run
