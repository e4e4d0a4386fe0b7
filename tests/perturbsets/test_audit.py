"""The audit: it passes an honest model, and catches masked ones."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from augment import SpatialChange
from perturbsets import (
    APGD,
    Adversary,
    Audit,
    Averaged,
    ComposedSet,
    LatentBall,
    Margin,
    OneStep,
    PixelBall,
    ProjectedGradient,
    SpatialBox,
    Square,
    audit,
    share_interval,
)
from perturbsets.evaluation import Check

RADIUS = 0.15
ATTACK = Adversary(PixelBall("linf", RADIUS), ascent=ProjectedGradient(20))
NAMES = [
    "without a limit every attack succeeds",
    "accuracy falls with the radius",
    "many steps beat one",
    "more effort changes little",
    "random draws do not beat it",
    "gradients are sound",
    "the same input gives the same output",
    "success survives rounding to 8 bits",
    "transfer from a plain model does not beat it",
]


def trained(seed: int, x: Tensor, y: Tensor, *, adversarial: bool) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    attack = Adversary(PixelBall("linf", RADIUS), ascent=ProjectedGradient(4))
    for _ in range(150):
        rows = torch.randint(len(x), (128,))
        shown = attack(model, x[rows], y[rows]).images if adversarial else x[rows]
        optimizer.zero_grad()
        F.cross_entropy(model(shown), y[rows]).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels, dtype=torch.long)


@pytest.fixture(scope="module")
def models(digits: tuple[Tensor, Tensor]) -> tuple[nn.Module, nn.Module]:
    """Trained without and with an adversary."""
    x, y = digits[0][:1400], digits[1][:1400]
    return trained(0, x, y, adversarial=False), trained(1, x, y, adversarial=True)


def held_out(digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return digits[0][1400:1520], digits[1][1400:1520]


def marks(result: Audit) -> dict[str, bool | None]:
    return {check.name: check.passed for check in result.checks}


def test_honest_models_pass(digits: Any, models: Any) -> None:
    x, y = held_out(digits)
    for model in models:
        result = audit(ATTACK, model, x, y, plain=models[0])
        assert [check.name for check in result.checks] == NAMES
        assert result.passed, str(result)
        assert marks(result) == dict.fromkeys(NAMES, True)
    assert result.accuracy.mean > 0.3  # the trained one does stand


class Saturated(nn.Module):
    """Logits so large that cross-entropy has no gradient left."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.inner(x)


class Quantised(nn.Module):
    """Rounds its input, through which no gradient passes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x * 8).round() / 8)


class Noisy(nn.Module):
    """Draws noise onto its input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + 0.3 * torch.randn_like(x))


@pytest.mark.parametrize(
    ("mask", "caught"),
    [
        (
            Saturated,
            {
                "without a limit every attack succeeds",
                "gradients are sound",
                "transfer from a plain model does not beat it",
            },
        ),
        (
            Quantised,
            {
                "without a limit every attack succeeds",
                "gradients are sound",
                "transfer from a plain model does not beat it",
            },
        ),
        (Noisy, {"the same input gives the same output"}),
    ],
)
def test_masked_models_are_caught(mask: Any, caught: set[str], digits: Any, models: Any) -> None:
    plain = models[0]
    result = audit(ATTACK, mask(plain), *held_out(digits), plain=plain)

    assert not result.passed
    assert caught <= {check.name for check in result.failures}, str(result)


def test_the_average_over_draws_repeats_itself_better(digits: Any, models: Any) -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return models[0](x * (1 + 0.01 * torch.randn(len(x), 1, 1, 1)))

    x, y = held_out(digits)
    for model in (Half(), Averaged(Half(), 64)):
        result = audit(ATTACK, model, x[:40], y[:40])
        check = result.checks[6]
        assert check.passed is False
        assert "attack `Averaged(model, draws)` instead" in check.figure
    averaged, exact = Averaged(Half(), 256)(x[:4]), models[0](x[:4])
    assert (averaged - exact).abs().max() < 0.1 * exact.abs().max()
    with pytest.raises(ValueError, match="draws must be at least 1"):
        Averaged(nn.Identity(), 0)


def test_weak_attacks_do_not_settle(digits: Any, models: Any) -> None:
    x, y = held_out(digits)
    halfway = ProjectedGradient(4, step_size=RADIUS / 8, starts="zero")  # twice the steps reach the edge
    short = Adversary(PixelBall("linf", RADIUS), ascent=halfway)
    failures = {check.name for check in audit(short, models[1], x, y).failures}
    assert "more effort changes little" in failures

    single = audit(Adversary(PixelBall("linf", RADIUS), ascent=OneStep()), models[0], x, y)
    assert marks(single)["many steps beat one"] is None
    assert marks(single)["more effort changes little"] is False
    square = Adversary(PixelBall("linf", RADIUS), Margin(), Square(5))
    assert marks(audit(square, models[0], x, y))["more effort changes little"] is False


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_other_balls_have_their_own_limit(norm: Any, digits: Any, models: Any) -> None:
    radius = {"l1": 4.0, "l2": 0.8}[norm]
    result = audit(Adversary(PixelBall(norm, radius), ascent=APGD(20)), models[0], *held_out(digits))

    assert marks(result)["without a limit every attack succeeds"], str(result)
    assert marks(result)["accuracy falls with the radius"]


def test_other_sets_are_audited_where_checks_apply(linear_cvae: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    x = 0.3 + 0.4 * torch.rand(20, 1, 2, 3)
    y = model(x).argmax(1)
    radii = torch.linspace(0.5, 1.0, 20)
    sets = [
        LatentBall(linear_cvae(), 1.0),
        SpatialBox(SpatialChange(rotation=20.0), radius=radii),
        ComposedSet([SpatialBox(), PixelBall("linf", 0.05)]),
    ]
    for perturbations in sets:
        result = audit(Adversary(perturbations, ascent=ProjectedGradient(5)), model, x, y, batch=7, draws=5)
        assert marks(result)["without a limit every attack succeeds"] is None
        assert marks(result)["transfer from a plain model does not beat it"] is None
        assert marks(result)["accuracy falls with the radius"]


def test_vectors_and_unbounded_sets_are_audited() -> None:
    model = nn.Linear(5, 3)
    x = torch.rand(10, 5)
    attack = Adversary(PixelBall("l2", math.inf), ascent=ProjectedGradient(5, step_size=0.1, starts="zero"))
    with pytest.raises(ValueError, match="adversary must search a set of finite radius to be audited"):
        audit(attack, model, x, model(x).argmax(1))
    result = audit(Adversary(PixelBall("l2", 0.1), ascent=ProjectedGradient(5)), model, x, model(x).argmax(1))
    assert marks(result)["success survives rounding to 8 bits"] is None


def test_audits_read_well_and_leave_the_model_alone(digits: Any, models: Any) -> None:
    x, y = held_out(digits)
    model = nn.Sequential(nn.Dropout(0.1), models[0]).train()
    result = audit(ATTACK, model, x[:20], y[:20])
    assert model.training

    assert re.fullmatch(r"Robust accuracy 20.0 % \[.*\], of 8 checks failed: none", str(result))
    names, passed, figures = (list(column.cells) for column in result.table().columns)
    assert names == ["robust accuracy", *NAMES]
    assert passed == ["", *["yes"] * 8, "not applicable"]
    assert figures[-1] == "no plain model was given"
    assert str(Check("sound", True, "1 %")) == "pass  sound: 1 %"
    assert str(Check("sound", False, "9 %")) == "FAIL  sound: 9 %"
    assert result.summary()["checks"][0]["name"] == NAMES[0]
    assert Audit(share_interval(torch.arange(2) < 1), (Check("a", None, "b"),)).passed
