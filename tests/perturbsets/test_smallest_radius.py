from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from perturbsets import (
    Adversary,
    CrossEntropy,
    LatentBall,
    Margin,
    Penalized,
    PerturbationSet,
    PixelBall,
    ProjectedGradient,
    ProjectedLBFGS,
    SmallestRadius,
    bisect,
)
from perturbsets.adversaries import fast_minimum_norm
from perturbsets.multi_label import multi_label_deepfool

SEARCH = ProjectedGradient(40, starts="zero")


@pytest.mark.parametrize(("norm", "dual"), [("l1", math.inf), ("l2", 2.0), ("linf", 1.0)])
def test_linear_models_fall_at_margin_over_dual_norm(norm: Any, dual: float) -> None:
    model = nn.Linear(6, 2).double()
    x = 0.5 + 0.02 * torch.randn(8, 6, dtype=torch.float64)  # far from the bounds
    with torch.no_grad():
        model.bias -= model(x).mean(0) + torch.tensor([0.05, 0.0], dtype=torch.float64)
    y = model(x).argmax(1)
    found = bisect(Adversary(PixelBall(norm, 1.0), Margin(), SEARCH), model, x, y, largest=1.0, rounds=16)
    weights = (model.weight[0] - model.weight[1]).detach()
    exact = (model(x)[:, 0] - model(x)[:, 1]).abs().detach() / weights.norm(p=dual)

    assert_close(found.radii, exact, rtol=1e-2, atol=2**-15)
    assert (model(found.images).argmax(1) != y).all()


def test_radii_are_zero_where_clean_images_fall_and_infinite_where_none_does() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x = torch.rand(6, 1, 2, 2)
    right = model(x).argmax(1)
    wrong = (right + 1) % 3
    found = bisect(Adversary(PixelBall("l2", 1.0)), model, x, torch.cat([wrong[:3], right[3:]]), largest=1e-6)

    assert found.radii[:3].tolist() == [0, 0, 0]
    assert found.radii[3:].isinf().all()
    assert torch.equal(found.images, x)
    assert (found.calls[:3] < found.calls[3:]).all()


def test_the_curve_is_the_share_that_stands() -> None:
    found = SmallestRadius(
        torch.tensor([0.0, 0.5, 0.2, math.inf]), torch.rand(4, 1), torch.ones(4, dtype=torch.long), torch.ones(4) == 0
    )
    radii = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.5, 9.0]])

    assert_close(found.accuracy(radii), torch.tensor([[0.75, 0.75, 0.5], [0.5, 0.25, 0.25]]))


def test_learned_sets_have_a_smallest_radius_too(linear_cvae: Any) -> None:
    x = 0.4 + 0.2 * torch.rand(12, 1, 2, 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    adversary = Adversary(LatentBall(linear_cvae(), 1.0), ascent=ProjectedGradient(20))
    found = bisect(adversary, model, x, model(x).argmax(1), largest=30.0, rounds=8)
    some = found.radii.isfinite() & (found.radii > 0)

    assert some.any()
    just = Adversary(LatentBall(linear_cvae(), found.radii[some] * 0.9), ascent=ProjectedGradient(20))
    assert not just(model, x[some], model(x[some]).argmax(1)).success.any()


def test_clean_samples_and_offset_zero_of_a_learned_set_are_told_apart(linear_cvae: Any) -> None:
    x, model = 0.4 + 0.2 * torch.rand(200, 1, 2, 3), nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        model[1].bias -= model(x).mean(0)
    learned, y = LatentBall(linear_cvae(), 1.0), torch.arange(200) % 2
    region = learned.at(x)
    clean, centre = (model(images).argmax(1) != y for images in (x, region.decode(region.centre())))
    found = bisect(
        Adversary(learned, Margin(), ProjectedGradient(3, starts="zero")), model, x, y, largest=1.0, rounds=2
    )

    assert (clean & ~centre).any()  # or the test is none
    assert (centre & ~clean).any()
    assert torch.equal(found.clean, clean)
    assert torch.equal(found.radii == 0, centre)
    assert_close(found.accuracy(torch.tensor(0.0)), 1 - centre.float().mean())
    pixels = bisect(Adversary(PixelBall("l2", 1.0), Margin(), SEARCH), model, x[:20], y[:20], largest=1.0, rounds=2)
    assert torch.equal(pixels.clean, pixels.radii == 0)
    price = bisect(LABEL, model, x[:20], y[:20], over="weight", largest=1.0, rounds=2)
    assert torch.equal(price.clean, ~clean[:20])  # the goal is to reach the label
    fast = fast_minimum_norm(model, x, y, steps=3)
    assert torch.equal(fast.clean, clean)


@pytest.mark.parametrize("perturbations", ["pixels", "learned"])
def test_least_changes_tell_clean_samples_apart_too(linear_cvae: Any, perturbations: str) -> None:
    x, model = 0.4 + 0.2 * torch.rand(200, 1, 2, 3), nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    with torch.no_grad():
        model[1].bias -= model(x).mean()
    chosen = LatentBall(linear_cvae(), 5.0) if perturbations == "learned" else PixelBall("l2", 5.0)
    region, targets = chosen.at(x), torch.ones(200, 1)
    found = multi_label_deepfool(model, x, targets, perturbations=chosen, steps=2)
    clean, centre = (model(images)[:, 0] > 0 for images in (x, region.decode(region.centre())))

    assert torch.equal(clean, centre) == (perturbations == "pixels")
    assert torch.equal(found.clean, clean)
    assert torch.equal(found.radii == 0, centre)


@pytest.mark.parametrize("count", [0, 1])
def test_empty_and_single_batches(count: int) -> None:
    model, x = nn.Linear(4, 2), torch.rand(count, 4)
    found = bisect(Adversary(PixelBall("linf", 1.0)), model, x, torch.zeros(count, dtype=torch.long), largest=1.0)

    assert found.radii.shape == found.calls.shape == found.clean.shape == (count,)
    assert found.images.shape == x.shape


@pytest.mark.parametrize("arguments", [{"largest": 0.0}, {"largest": math.inf}, {"largest": 1.0, "rounds": 0}])
def test_impossible_searches_are_refused(arguments: dict[str, Any]) -> None:
    x, y = torch.rand(2, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="largest must be above 0 and finite, rounds at least 1"):
        bisect(Adversary(PixelBall("linf", 1.0)), nn.Linear(4, 2), x, y, **arguments)


def test_sets_without_a_radius_are_refused() -> None:
    class Fixed(PerturbationSet):
        def at(self, images: Any) -> Any:
            raise AssertionError("never bound")

    with pytest.raises(ValueError, match="adversary must search a set with a radius, got Fixed"):
        bisect(Adversary(Fixed()), nn.Linear(4, 2), torch.rand(2, 4), torch.zeros(2, dtype=torch.long), largest=1.0)


LABEL = Adversary(PixelBall("l2", math.inf), Penalized(CrossEntropy(targeted=True)), ProjectedLBFGS(40))


@pytest.mark.parametrize("stop", [False, True])
def test_the_largest_price_leads_to_the_smallest_change_of_a_linear_model(stop: bool) -> None:
    model = nn.Linear(6, 2).double()
    x = 0.5 + 0.02 * torch.randn(8, 6, dtype=torch.float64)  # far from the bounds
    with torch.no_grad():
        model.bias -= model(x).mean(0) + torch.tensor([0.05, 0.0], dtype=torch.float64)
    target = 1 - model(x).argmax(1)
    adversary = replace(LABEL, ascent=ProjectedLBFGS(40, stop_on_success=stop))  # a stop would come too early
    found = bisect(adversary, model, x, target, over="weight", largest=100.0, rounds=12)
    weights = (model.weight[0] - model.weight[1]).detach()
    exact = (model(x)[:, 0] - model(x)[:, 1]).abs().detach() / weights.norm()

    assert_close(found.radii, exact, rtol=1e-2, atol=0.0)
    assert (model(found.images).argmax(1) == target).all()


def test_the_label_attack_keeps_to_the_bounds_and_is_as_near_as_other_searches() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 30), nn.Tanh(), nn.Linear(30, 4)).double()
    x = torch.rand(10, 1, 6, 6, dtype=torch.float64)
    target = (model(x).argmax(1) + 1) % 4
    found = bisect(LABEL, model, x, target, over="weight", largest=100.0, rounds=8)
    radius = bisect(
        Adversary(PixelBall("l2", 1.0), Margin(targeted=True), ProjectedGradient(40, starts="zero")),
        model,
        x,
        target,
        largest=4.0,
        rounds=14,
    )

    assert (model(found.images).argmax(1) == target).all()
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert_close(found.radii, (found.images - x).flatten(1).norm(dim=1))
    # The highest point jumps as the price falls, so that the smallest change of all may be passed over.
    assert found.radii.median() <= 1.4 * radius.radii.median()


def test_unreachable_targets_are_at_infinity() -> None:
    class Sure(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([9.0, 0.0]).expand(len(x), 2) + 1e-3 * x[:, :2]

    x = torch.rand(2, 4)
    found = bisect(LABEL, Sure(), x, torch.ones(2, dtype=torch.long), over="weight", largest=1.0)

    assert found.radii.isinf().all()
    assert torch.equal(found.images, x)


def test_prices_are_checked_and_shared_out() -> None:
    x, y = torch.rand(3, 4), torch.tensor([0, 1, 0])
    model, u = nn.Linear(4, 2), torch.rand(3, 4)
    weight = torch.tensor([0.0, 1.0, 2.0])
    loss = Penalized(Margin(), weight=weight).at(model, x, y)
    plain, flags = Margin().at(model, x, y)(x + u, u)

    assert_close(loss(x + u, u)[0], plain - weight * u.square().sum(1))
    assert_close(loss(x + u, u)[1], flags)
    rows = torch.tensor([2, 0])
    assert_close(loss.select(rows)((x + u)[rows], u[rows])[0], loss(x + u, u)[0][rows])
    with pytest.raises(ValueError, match="weight must be 0 or more and finite"):
        Penalized(Margin(), weight=-1.0)
    with pytest.raises(ValueError, match=r"weight must be a number or one per image, got \[2\] numbers for 3 images"):
        Penalized(Margin(), weight=torch.ones(2)).at(model, x, y)


@pytest.mark.parametrize("over", ["radius", "weight"])
def test_step_sizes_are_shared_out_with_their_images(over: Any) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(16, 3), torch.rand(6, 16)
    y = model(x).argmax(1)
    one, each = (
        bisect(
            Adversary(PixelBall("l2", 1.0), Penalized(Margin()), replace(SEARCH, step_size=size)),
            model,
            x,
            y,
            over=over,
            largest=1.0,
        )
        for size in (0.1, [0.1] * 6)
    )

    assert 0 < int(one.radii.isfinite().sum()) < 6  # so that later rounds are of some images only
    assert_close(each.radii, one.radii)


def test_what_cannot_be_searched_over_is_refused() -> None:
    x, y = torch.rand(3, 4), torch.tensor([0, 1, 0])
    with pytest.raises(ValueError, match="must have the objective Penalized to bisect its weight, got Margin"):
        bisect(Adversary(PixelBall("l2", 1.0), Margin()), nn.Linear(4, 2), x, y, over="weight", largest=1.0)


def test_radii_of_halves_are_as_fine_as_the_rounds_make_them() -> None:
    model, x = nn.Linear(4, 3).bfloat16(), torch.rand(5, 4).bfloat16()
    y = model(x).argmax(1)
    fine = bisect(Adversary(PixelBall("l2", 1.0)), model, x, y, largest=2.0, rounds=12)
    found = fine.radii.isfinite()
    distance = (fine.images.double() - x.double()).norm(dim=1)

    assert found.any()
    assert (distance <= fine.radii.double())[found].all()
    assert ((fine.radii * 2**11) % 1 == 0)[found].all()
    assert fine.radii.dtype == torch.float32
