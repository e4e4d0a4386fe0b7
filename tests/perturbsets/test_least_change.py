"""Least changes of patterns of labels, where they are known exactly, and beside other searches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.testing import assert_close

from augment import RandomCorruption, SpatialChange
from perturbsets import (
    Adversary,
    DrawnChanges,
    FunctionObjective,
    PixelBall,
    ProjectedGradient,
    SmallestRadius,
    SpatialBox,
    bisect,
)
from perturbsets.adversaries import fast_minimum_norm
from perturbsets.multi_label import label_linear_programme, multi_label_deepfool
from perturbsets.multi_label.deepfool import least_norm

NAN = math.nan
DOUBLE = torch.float64
SEARCHES: dict[str, Callable[..., SmallestRadius]] = {
    "l2": multi_label_deepfool,
    "linf": label_linear_programme,
    "l1": lambda *given, **settings: label_linear_programme(*given, norm="l1", **settings),
}
DUALS = {"l2": 2.0, "linf": 1.0, "l1": math.inf}


def linear(labels: int = 6, size: int = 30, alike: float = 0.5) -> nn.Linear:
    """Labels whose weights have something in common, about as often on as off in the middle."""
    model = nn.Linear(size, labels).double()
    with torch.no_grad():
        model.weight += alike * torch.randn(1, size)
        model.bias.copy_(0.1 * torch.randn(labels) - 0.5 * model.weight.sum(1))
    return model


def norm_of(change: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(change.flatten(1), {"l1": 1, "l2": 2, "linf": math.inf}[norm], dim=1)


def least(norm: str, rows: Any, needed: Any, low: Any, high: Any) -> float:
    """The least norm of a vector in a box that meets linear constraints, by SciPy."""
    size = rows.shape[1]
    if norm == "l2":
        found = optimize.minimize(
            lambda w: 0.5 * w @ w,
            np.zeros(size),
            jac=lambda w: w,
            method="SLSQP",
            bounds=optimize.Bounds(low, high),
            constraints=[{"type": "ineq", "fun": lambda w: rows @ w - needed, "jac": lambda w: rows}],
            options={"maxiter": 1000, "ftol": 1e-15},
        )
        assert found.success
        return float(np.linalg.norm(found.x))
    every = np.eye(size)  # |w| <= t, with one t for all values, or one for each
    bound = -np.ones((size, 1)) if norm == "linf" else -every
    extra = bound.shape[1]
    above = np.block([[every, bound], [-every, bound], [-rows, np.zeros((len(rows), extra))]])
    box = [*zip(low, high, strict=True), *[(0, None)] * extra]
    solved = optimize.linprog(
        [0] * size + [1] * extra, above, np.concatenate([np.zeros(2 * size), -needed]), bounds=box
    )
    assert solved.success
    return float(solved.fun)


@pytest.mark.parametrize("norm", list(SEARCHES))
@pytest.mark.parametrize("overshoot", [1e-6, 0.02, 0.3])
def test_one_label_of_a_linear_model_flips_at_its_logit_over_the_dual_norm(norm: str, overshoot: float) -> None:
    model, x = linear(), 0.5 + 0.01 * torch.rand(12, 30, dtype=DOUBLE)  # far from the bounds
    logits, label = model(x).detach(), torch.arange(12) % 6
    targets = torch.full_like(logits, NAN)
    targets[range(12), label] = (logits[range(12), label] <= 0).double()
    found = SEARCHES[norm](model, x, targets, overshoot=overshoot, margin=1e-6)
    exact = logits[range(12), label].abs() / model.weight.detach().norm(p=DUALS[norm], dim=1)[label]

    assert_close(found.radii, exact, rtol=1e-3 if overshoot < 0.1 else 2e-2, atol=0)
    assert (found.radii >= exact).all()
    assert_close(norm_of(found.images - x, norm), found.radii)
    assert ((model(found.images) > 0)[range(12), label] != (logits > 0)[range(12), label]).all()


@pytest.mark.parametrize("norm", list(SEARCHES))
@pytest.mark.parametrize("spread", [0.01, 0.5])
def test_patterns_of_a_linear_model_are_attained_at_the_optimum(norm: str, spread: float) -> None:
    """With the larger spread most images have values at the bounds, which hold many coordinates."""
    model = linear(alike=0.2)
    x = (0.5 + spread * torch.randn(10, 30, dtype=DOUBLE)).clamp(0, 1)
    logits = model(x).detach()
    targets = (logits > 0).double()
    targets[:, :2] = 1 - targets[:, :2]
    targets[::2, 4:] = NAN
    found = SEARCHES[norm](model, x, targets)
    signs, asked = 2 * targets - 1, ~targets.isnan()
    optima = [
        least(
            norm,
            (signs[n, :, None] * model.weight.detach())[asked[n]].numpy(),
            -(signs * logits)[n, asked[n]].numpy(),
            -x[n].numpy(),
            1 - x[n].numpy(),
        )
        for n in range(10)
    ]

    exact = torch.tensor(optima, dtype=DOUBLE)

    assert_close(found.radii, exact, rtol=1e-3, atol=1e-9)
    assert (found.radii >= exact * (1 - 1e-9)).all()
    assert ((model(found.images) > 0) == (targets == 1))[asked].all()
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert found.calls.max() <= 10  # a look, a step to the pattern, a few along it, three without a gain


def test_equality_pulls_labels_that_are_right_and_inequality_does_not() -> None:
    model = nn.Linear(2, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
        model.bias.copy_(torch.tensor([-0.6, -0.1]))
    x, targets = torch.full((1, 2), 0.5, dtype=DOUBLE), torch.tensor([[1.0, 1.0]])  # logits -0.1 and 0.4
    inequality = multi_label_deepfool(model, x, targets, overshoot=1e-6, margin=1e-9)
    equality = multi_label_deepfool(model, x, targets, overshoot=1e-6, margin=1e-9, equality=True)

    assert_close(inequality.radii, torch.tensor([0.1], dtype=DOUBLE), rtol=1e-5, atol=0)  # the overshoot
    assert_close(equality.radii, torch.tensor([math.hypot(0.1, 0.4)], dtype=DOUBLE), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("labels", "size", "alike"), [(1, 6, 0.0), (5, 20, 3.0), (12, 100, 5.0), (10, 30, 3.0)])
@pytest.mark.parametrize("limited", [False, True])
def test_least_norms_are_those_of_quadratic_programming(labels: int, size: int, alike: float, limited: bool) -> None:
    rows = torch.randn(6, labels, size, dtype=DOUBLE) + alike * torch.randn(6, 1, size, dtype=DOUBLE)
    needed = torch.randn(6, labels, dtype=DOUBLE).abs() * 0.3
    high = torch.rand(6, size, dtype=DOUBLE) if limited else torch.full((6, size), math.inf, dtype=DOUBLE)
    low = -high.roll(1, 0)
    if limited:
        low[:, ::4] = 0
    found = least_norm(rows, needed, low, high)

    assert ((torch.einsum("blz,bz->bl", rows, found) - needed) > -1e-6).all()
    assert ((low <= found) & (found <= high)).all()
    for n in range(6):
        exact = least("l2", rows[n].numpy(), needed[n].numpy(), low[n].numpy(), high[n].numpy())
        assert math.isclose(float(found[n].norm()), exact, rel_tol=1e-5)


def test_equality_without_bounds_is_the_pseudo_inverse() -> None:
    rows, needed = torch.randn(4, 3, 10, dtype=DOUBLE), torch.randn(4, 3, dtype=DOUBLE)
    none = torch.full((4, 10), math.inf, dtype=DOUBLE)
    found = least_norm(rows, needed, -none, none, equality=True)

    assert_close(found, (torch.linalg.pinv(rows) @ needed[..., None])[..., 0], rtol=1e-5, atol=1e-7)


def network(labels: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 30), nn.Tanh(), nn.Dropout(), nn.Linear(30, labels))


class OneOfTwo(nn.Module):
    """A label as a choice between two classes, off and on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(self.model(images)[:, :1], (1, 0))


@pytest.mark.parametrize("norm", list(SEARCHES))
def test_one_label_of_a_network_flips_as_near_as_fast_minimum_norm_finds(norm: Any) -> None:
    model, x = network().eval(), torch.rand(20, 1, 6, 6)
    on = (model(x)[:, 0] > 0).long()
    targets = torch.full((20, 4), NAN)
    targets[:, 0] = 1.0 - on
    found = SEARCHES[norm](model, x, targets)
    other = fast_minimum_norm(OneOfTwo(model), x, on, norm=norm, steps=300)

    assert (found.radii <= 1.02 * other.radii).float().mean() >= 0.9
    assert found.radii.median() <= 1.001 * other.radii.median()


def test_patterns_of_a_network_are_as_near_as_halving_finds() -> None:
    model, x = network().eval(), torch.rand(8, 1, 6, 6)
    targets = 1.0 * (model(x) > 0)
    targets[:, :2] = 1 - targets[:, :2]

    objective = FunctionObjective(
        lambda logits, states: ((2 * states - 1) * logits).clamp_max(0).sum(1),
        success=lambda logits, states: ((logits > 0) == (states == 1)).all(1),
    )
    found = multi_label_deepfool(model, x, targets)
    search = Adversary(PixelBall("l2", 1.0), objective, ProjectedGradient(100, starts="zero"))
    other = bisect(search, model, x, targets, largest=4.0, rounds=14)

    assert found.radii.isfinite().all()
    assert found.radii.median() <= 1.005 * other.radii.median()
    assert found.calls.sum() < other.calls.sum() / 100


@pytest.mark.parametrize("name", list(SEARCHES))
def test_models_stay_as_they_were(name: str) -> None:
    model, x = network().train(), torch.rand(5, 1, 6, 6)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, copy = torch.get_rng_state(), x.clone()
    with torch.no_grad():
        found = SEARCHES[name](model, x, torch.ones(5, 4), steps=4)

    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, copy)
    assert not found.images.requires_grad


@pytest.mark.parametrize("name", list(SEARCHES))
def test_one_image_alone_gives_what_it_gives_in_a_batch(name: str) -> None:
    model, x = network().double().eval(), torch.rand(6, 1, 6, 6, dtype=DOUBLE)
    targets = torch.randint(0, 2, (6, 4)).double()
    together = SEARCHES[name](model, x, targets, steps=5)
    for row in range(6):
        alone = SEARCHES[name](model, x[row : row + 1], targets[row : row + 1], steps=5)
        assert_close(alone.radii, together.radii[row : row + 1], rtol=1e-6, atol=0)
        assert alone.calls.item() == together.calls[row].item()


@pytest.mark.parametrize("name", list(SEARCHES))
def test_nothing_to_do_costs_one_call_and_what_cannot_be_is_at_infinity(name: str) -> None:
    model, x = nn.Linear(4, 2).double(), torch.rand(3, 4, dtype=DOUBLE)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]]))
        model.bias.copy_(torch.tensor([-5.0, 1.0]))  # label 0 is off everywhere in [0, 1], label 1 on
    targets = torch.tensor([[0.0, 1.0], [1.0, NAN], [NAN, 0.0]])
    found = SEARCHES[name](model, x, targets)

    assert found.radii.tolist() == [0.0, math.inf, math.inf]
    assert found.calls[0] == 1
    assert name == "l2" or found.calls[1:].tolist() == [2, 2]  # a programme without a solution ends it
    assert_close(found.images, x, rtol=0, atol=0)
    assert SEARCHES[name](model, x, torch.full((3, 2), NAN)).radii.tolist() == [0.0] * 3


@pytest.mark.parametrize("name", list(SEARCHES))
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_batches_and_halves(name: str, count: int, dtype: torch.dtype) -> None:
    found = SEARCHES[name](network().to(dtype), torch.rand(count, 1, 6, 6).to(dtype), torch.ones(count, 4), steps=3)

    assert found.images.shape == (count, 1, 6, 6)
    assert found.images.dtype == dtype
    assert found.radii.shape == found.calls.shape == (count,)


def test_changes_stay_in_any_set() -> None:
    model, x = network().double().eval(), torch.rand(8, 1, 6, 6, dtype=DOUBLE)
    with torch.no_grad():
        model[-1].bias -= model(x).mean(0)  # type: ignore[index, operator, union-attr]
    targets = torch.full((8, 4), NAN)
    targets[:, 0] = (model(x)[:, 0] <= 0).float()
    free = multi_label_deepfool(model, x, targets)
    middle = float(free.radii.sort().values[3:5].mean())
    small = multi_label_deepfool(model, x, targets, perturbations=PixelBall("l2", middle))
    turned = multi_label_deepfool(model, x, targets, perturbations=SpatialBox(SpatialChange(rotation=45.0, shift=0.3)))

    assert_close(small.radii.isfinite(), free.radii < middle)
    for found in (small, turned):
        hit = found.radii.isfinite()
        assert hit.any()
        assert ((model(found.images) > 0)[:, 0] == (targets[:, 0] == 1))[hit].all()


@pytest.mark.parametrize("name", list(SEARCHES))
@pytest.mark.parametrize(
    ("targets", "settings", "words"),
    [
        (torch.ones(2, 3), {}, r"one logit for each label, \[2, 3\], got \[2, 4\]"),
        (torch.full((2, 4), 3), {}, "must be 0, 1 or NaN, got 3"),
        (torch.ones(2, 4), {"steps": 0}, "steps must be at least 1"),
        (torch.ones(2, 4), {"overshoot": 1.0}, r"overshoot in \(0, 1\)"),
        (torch.ones(2, 4), {"margin": NAN}, "margin 0 or more"),
    ],
)
def test_wrong_arguments_are_refused(name: str, targets: Tensor, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SEARCHES[name](network(), torch.rand(2, 1, 6, 6), targets, **settings)


def test_sets_and_models_that_do_not_fit_are_refused() -> None:
    x = torch.rand(2, 1, 6, 6)
    with pytest.raises(ValueError, match="a set that can be climbed, got DrawnChanges"):
        multi_label_deepfool(network(), x, torch.ones(2, 4), perturbations=DrawnChanges(RandomCorruption()))

    class Counting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images > 0.5).flatten(1).float()

    with pytest.raises(ValueError, match="logits without one: let no step"):
        multi_label_deepfool(Counting(), x, torch.ones(2, 36))


@pytest.mark.parametrize("name", list(SEARCHES))
def test_a_label_without_a_slope_is_at_infinity_and_the_others_are_not(name: str) -> None:
    class Steep(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            still = (images[:, 0] - images[:, 0].detach()).sqrt() - 1  # its gradient is infinite
            return torch.stack([still, images[:, 1] - 0.7], 1)

    x, targets = torch.full((2, 3), 0.5), torch.tensor([[1.0, 1.0], [NAN, 1.0]])
    found = SEARCHES[name](Steep(), x, targets)

    assert found.radii[0] == math.inf
    assert_close(found.radii[1], torch.tensor(0.2), rtol=1e-2, atol=0)
