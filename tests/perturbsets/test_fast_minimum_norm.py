"""Smallest changes, where they are known, and beside the search by halving."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import Adversary, Margin, PixelBall, ProjectedGradient, bisect
from perturbsets.adversaries import fast_minimum_norm

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


def exact_distances(weight: Tensor, bias: Tensor, x: Tensor, norm: str, low: float, high: float) -> Tensor:
    """Least norm of a change within bounds after which a linear model prefers another class: a problem of one
    constraint for each wrong class, solved by sorting (L1) or by bisection of its multiplier."""
    logits = x @ weight.T + bias
    y, least = logits.argmax(1), torch.full((len(x),), math.inf, dtype=x.dtype)
    for wrong in range(len(weight)):
        slope, needed = weight[wrong] - weight[y], logits.gather(1, y[:, None])[:, 0] - logits[:, wrong]
        room, gain = torch.where(slope > 0, high - x, x - low), slope.abs()
        if norm == "l1":
            order = gain.argsort(1, descending=True)
            room, gain = room.gather(1, order), gain.gather(1, order)
            before = (gain * room).cumsum(1) - gain * room
            size = ((needed[:, None] - before) / gain).clamp_min(0).minimum(room).sum(1)
        else:
            change = {"l2": lambda t: (t * gain).minimum(room), "linf": lambda t: room.minimum(t)}[norm]  # noqa: B023
            least_t, most_t = torch.zeros(len(x), 1, dtype=x.dtype), torch.full((len(x), 1), 1e4, dtype=x.dtype)
            for _ in range(100):
                middle = (least_t + most_t) / 2
                enough = (gain * change(middle)).sum(1) >= needed
                most_t, least_t = middle.where(enough[:, None], most_t), least_t.where(enough[:, None], middle)
            size = change(most_t).norm(p=math.inf if norm == "linf" else 2, dim=1)
        possible = (wrong != y) & ((gain * room).sum(1) >= needed)
        least = torch.where(possible, least.minimum(size), least)
    return least


def linear_problems(scale: float = 1.0) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double(), torch.rand(1000, 1, 8, 8).double()
    with torch.no_grad():
        model[1].weight /= scale
    return model, scale * x


@pytest.mark.parametrize("norm", NORMS)
def test_a_thousand_linear_problems_in_a_box_are_all_solved_near_the_optimum(norm: Any) -> None:
    model, x = linear_problems()
    weight, bias = model[1].weight.detach(), model[1].bias.detach()  # type: ignore[index]
    found = fast_minimum_norm(model, x, model(x).argmax(1), norm=norm)
    exact = exact_distances(weight, bias, x.flatten(1), norm, 0.0, 1.0)
    ratio = found.radii / exact

    assert found.radii.isfinite().all()
    assert (ratio >= 1 - 1e-9).all()
    assert ratio.median() <= 1.001
    assert ratio.quantile(0.95) <= 1.05
    assert ratio.max() <= 1.3  # another class is nearer than the one that the margin leads to
    assert (model(found.images).argmax(1) != model(x).argmax(1)).all()
    assert 0 <= found.images.min() <= found.images.max() <= 1
    # The reference against the closed form, where no bound matters.
    free = exact_distances(weight, bias, x.flatten(1), norm, -1e4, 1e4)
    logits = model(x).detach()
    gaps = (logits.amax(1, keepdim=True) - logits) / torch.cdist(
        weight[logits.argmax(1)], weight, p={"l1": math.inf, "l2": 2.0, "linf": 1.0}[norm]
    )
    assert_close(free, gaps.scatter(1, logits.argmax(1, keepdim=True), math.inf).amin(1))
    assert (exact >= free * (1 - 1e-9)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_steps_scale_with_the_bounds(norm: Any) -> None:
    (model, x), (wide, scaled) = linear_problems(), linear_problems(255.0)
    y = model(x).argmax(1)[:250]
    one = fast_minimum_norm(model, x[:250], y, norm=norm)
    other = fast_minimum_norm(wide, scaled[:250], y, norm=norm, bounds=(0.0, 255.0))

    assert other.radii.isfinite().all()
    assert_close(other.radii / 255, one.radii, rtol=1e-3, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_what_no_gradient_leads_to_is_found_by_bisection(norm: Any) -> None:
    class Plateau(nn.Module):
        """Right up to a brightness of 0.3, without a slope up to 0.25."""

        def forward(self, images: Tensor) -> Tensor:
            bright = (images.flatten(1).mean(1) - 0.25).clamp_min(0)
            return torch.stack([torch.full_like(bright, 0.05), bright], 1)

    x, y = 0.1 + 0.1 * torch.rand(5, 1, 4, 4), torch.zeros(5, dtype=torch.long)
    found = fast_minimum_norm(Plateau(), x, y, norm=norm, steps=50)
    exact = (0.3 - x.flatten(1).mean(1)) * {"l1": 16, "l2": 4, "linf": 1}[norm]

    assert found.radii.isfinite().all()
    assert_close(found.radii, exact, rtol=1e-2, atol=0)
    assert (Plateau()(found.images).argmax(1) == 1).all()
    assert (found.calls > 51).all()
    near = fast_minimum_norm(Plateau(), x, y, norm=norm, steps=5, largest=1e-3)
    assert near.radii.isinf().all()
    assert torch.equal(near.images, x)


def test_values_without_bounds_need_a_largest_radius() -> None:
    model, x = nn.Linear(6, 3).double(), 10 * torch.randn(50, 6, dtype=torch.float64)
    y, free = model(x).argmax(1), (-math.inf, math.inf)
    with pytest.raises(ValueError, match=r"largest must be given where bounds are infinite.*largest=10\.0"):
        fast_minimum_norm(model, x, y, bounds=free)
    found = fast_minimum_norm(model, x, y, bounds=free, largest=10.0)
    exact = exact_distances(model.weight.detach(), model.bias.detach(), x, "l2", -1e4, 1e4)

    assert (found.radii >= exact * (1 - 1e-9)).all()
    assert (found.radii / exact).median() <= 1.01


def test_halves_that_bisection_finds_are_misclassified_as_returned() -> None:
    model, x = nn.Linear(4, 3).bfloat16(), torch.rand(40, 4).bfloat16()
    y = model(x).argmax(1)
    found = fast_minimum_norm(model, x, y, steps=2)

    some = found.radii.isfinite()
    assert some.any()
    assert (model(found.images).argmax(1) != y)[some].all()
    assert torch.equal(found.images[~some], x[~some])


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


@pytest.mark.parametrize("largest", [0.0, -1.0, math.nan, math.inf])
def test_impossible_largest_radii_are_refused(largest: float) -> None:
    with pytest.raises(ValueError, match="largest must be above 0 and finite, got"):
        fast_minimum_norm(nn.Linear(2, 2), torch.rand(1, 2), torch.tensor([0]), largest=largest)


@pytest.mark.parametrize("setting", [{"steps": 0}, {"step_size": 0.0}, {"rate": 1.0}])
def test_impossible_settings_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, step_size above 0 and rate in"):
        fast_minimum_norm(nn.Linear(2, 2), torch.rand(1, 2), torch.tensor([0]), **setting)
