"""Names for what things are made of."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from augment import Corruption, Perturb, SpatialChange
from perturbsets import Adversary, FunctionObjective, PixelBall, SpatialBox
from perturbsets.fingerprint import digest


class Own:
    """An object without a representation of its own."""

    def __init__(self, number: float) -> None:
        self.number, self.weights = number, torch.ones(2)

    def judge(self) -> float:
        return self.number


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PixelBall("l2", 0.1), PixelBall("l2", 0.2)),
        (Adversary(PixelBall("l2", 0.1)), Adversary(PixelBall("linf", 0.1))),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [2, 1]),
        (Own(1.0), Own(2.0)),
        (Own(1.0).judge, Own(2.0).judge),
        (SpatialChange(rotation=20.0), SpatialChange(rotation=30.0)),
        (SpatialBox(SpatialChange(shift=0.1)), SpatialBox(SpatialChange(shift=0.2))),
        (Corruption("gaussian_noise", 1), Corruption("gaussian_noise", 2)),
        (Perturb(PixelBall("l2", 0.1)), Perturb(PixelBall("l2", 0.2))),
        (nn.Sequential(nn.Dropout(0.1)), nn.Sequential(nn.Dropout(0.2))),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU())),
        (FunctionObjective(torch.sum), FunctionObjective(torch.mean)),
        (FunctionObjective(lambda output, _: output), FunctionObjective(lambda output, _: -output)),
    ],
)
def test_what_differs_has_another_name(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_weights_count() -> None:
    model = nn.Linear(2, 2)
    before = digest(model)
    with torch.no_grad():
        model.weight += 1
    assert digest(model) != before


def test_names_are_the_same_in_every_process() -> None:
    program = """
import torch
from perturbsets import Adversary, FunctionObjective, PixelBall
from perturbsets.fingerprint import digest
class Own: pass
class Layer(torch.nn.Module):
    def extra_repr(self): return object.__repr__(self)
own = Own(); own.number = 1
print(digest([Adversary(PixelBall("l2", torch.tensor([0.1])), FunctionObjective(torch.sum)), own, Layer()]))
"""
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(program, {"__name__": "__main__"})

    assert there.stdout == here.getvalue()


def test_functions_differ_by_the_weights_of_the_models_they_call() -> None:
    def calling(model: nn.Module) -> Any:
        return lambda x: model(x)

    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    assert digest(calling(first)) == digest(calling(first))
    assert digest(calling(first)) != digest(calling(second))
    assert digest(partial(calling(first))) != digest(partial(calling(second)))
    assert digest(partial(round, ndigits=1)) != digest(partial(round, ndigits=2))
