"""On a linear model the least change that turns labels is known: their distances, and a quadratic programme."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import Adversary, Objective, OneStep, Penalized, PixelBall, ProjectedLBFGS, bisect
from perturbsets.label_states import target_labels
from perturbsets.multi_label import BinaryCrossEntropy, LabelMargin, LabelRanking, TopK

DOUBLE = torch.float64


def linear_labels(labels: int = 3) -> tuple[nn.Linear, Tensor]:
    """A linear model whose boundaries run near images that are far from the bounds of pixels."""
    torch.manual_seed(11)
    model, x = nn.Linear(6, labels).double(), 0.5 + 0.02 * torch.randn(8, 6, dtype=DOUBLE)
    with torch.no_grad():
        model.bias -= model(x).mean(0) - 0.03 * torch.randn(labels, dtype=DOUBLE)
    return model, x


def asked(pattern: Tensor, label: int) -> Tensor:
    """One label of a pattern, all others free."""
    return torch.full_like(pattern, math.nan).index_copy_(1, torch.tensor([label]), pattern[:, [label]])


@pytest.mark.parametrize("objective", [BinaryCrossEntropy(targeted=True), LabelMargin(targeted=True, confidence=0.1)])
@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_one_label_of_a_linear_model_flips_at_its_distance(objective: Objective, norm: Any, dual: int) -> None:
    model, x = linear_labels()
    logits = model(x).detach()
    target = asked((logits <= 0).to(DOUBLE), 1)
    found = bisect(Adversary(PixelBall(norm, 1.0), objective, OneStep()), model, x, target, largest=0.3, rounds=20)

    assert_close(found.radii, logits[:, 1].abs() / model.weight[1].detach().norm(p=dual), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("objective", [LabelRanking(), TopK(1), TopK(1, smooth=True)])
def test_two_labels_of_a_linear_model_change_places_at_their_distance(objective: Objective) -> None:
    model, x = linear_labels(2)
    logits = model(x).detach()
    higher = logits.argmax(1)
    found = bisect(
        Adversary(PixelBall("l2", 1.0), objective, OneStep()),
        model,
        x,
        nn.functional.one_hot(higher, 2),
        largest=0.3,
        rounds=20,
    )
    between = (model.weight[0] - model.weight[1]).detach()

    assert_close(found.radii, (logits[:, 0] - logits[:, 1]).abs() / between.norm(), rtol=1e-4, atol=0.0)


def least_change(model: nn.Linear, image: Tensor, pattern: Tensor, confidence: float) -> float:
    """Norm of the least change that brings the asked labels behind their boundaries, by a general solver."""
    known = ~pattern.isnan()
    signs = (2 * pattern - 1)[known].numpy()
    slopes = signs[:, None] * model.weight.detach()[known].numpy()
    heights = signs * model(image).detach()[known].numpy()
    solved = optimize.minimize(
        lambda change: change @ change,
        np.zeros(6),
        jac=lambda change: 2 * change,
        constraints={
            "type": "ineq",
            "fun": lambda change: slopes @ change + heights - confidence,
            "jac": lambda _: slopes,
        },
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert solved.success
    return float(np.linalg.norm(solved.x))


PRICED = Adversary(
    PixelBall("l2", math.inf), Penalized(LabelMargin(targeted=True, confidence=0.002)), ProjectedLBFGS(30)
)


def test_the_largest_price_flips_one_label_at_its_distance() -> None:
    model, x = linear_labels()
    logits = model(x).detach()
    target = asked((logits <= 0).to(DOUBLE), 2)
    found = bisect(PRICED, model, x, target, over="weight", largest=1e4, rounds=12)

    assert_close(found.radii, logits[:, 2].abs() / model.weight[2].detach().norm(), rtol=1e-2, atol=0.0)
    assert ((model(found.images) > 0) == (target == 1))[:, 2].all()


def test_the_largest_price_attains_patterns_between_the_least_changes_without_and_with_confidence() -> None:
    model, x = linear_labels()
    target = target_labels((model(x) > 0).to(DOUBLE), hide=[0], show=[1])
    found = bisect(PRICED, model, x, target, over="weight", largest=1e4, rounds=12)

    assert torch.equal(model(found.images) > 0, target == 1)
    for row in range(len(x)):
        least, sure = (least_change(model, x[row], target[row], gap) for gap in (0.0, 0.002))
        assert least * (1 - 1e-6) <= found.radii[row] <= sure * 1.01
