from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from perturbsets import Adversary, ApproximationError, CoveringRadius, LatentBall, ProjectedLBFGS, bisect
from perturbsets.certificates import covering_radius, needed_radii

COUNT = 40


@pytest.fixture
def pairs(memory_pairs: Any) -> Any:
    clean = torch.rand(COUNT, 1, 2, 3)
    return memory_pairs(clean, (clean + 0.2 * torch.randn(COUNT, 1, 2, 3)).clamp(0, 1), torch.arange(COUNT))


def exact_radii(model: Any, clean: torch.Tensor, changed: torch.Tensor, tolerance: torch.Tensor) -> torch.Tensor:
    """Least ‖u‖ with ‖p − c u‖² ≤ mτ − ‖rest‖², p the part of the way to x̃ in the span of columns of one length c."""
    prior = model.prior(model.context(clean))
    basis = (model._generator.basis * prior.scale[0]).double().detach()
    length = basis.norm(dim=0)[0]
    way = (changed - clean).flatten(1).double() - (prior.mean @ model._generator.basis.T).double().detach()
    part = way @ basis / length
    room = way[0].numel() * tolerance - (way.square().sum(1) - part.square().sum(1))
    return ((part.norm(dim=1) - room.clamp_min(0).sqrt()) / length).clamp_min(0).masked_fill(room < 0, math.inf)


@pytest.mark.parametrize("tolerance", [0.01, 0.03, 0.1])
def test_radii_are_those_of_a_linear_generator(
    linear_cvae: Any, pairs: Any, generator: torch.Generator, tolerance: float
) -> None:
    model = linear_cvae()
    wanted = torch.full((COUNT,), tolerance) * torch.linspace(0.5, 1.5, COUNT)
    found = needed_radii(LatentBall(model, 0.0), pairs.clean, pairs.changed, wanted, rounds=12, generator=generator)
    exact = exact_radii(model, pairs.clean, pairs.changed, wanted.double())

    assert exact.isfinite().any()
    assert (found >= exact * (1 - 1e-5)).all()
    assert torch.equal(found.isinf(), exact.isinf())
    assert torch.equal(found == 0, exact == 0)
    assert_close(found, exact, rtol=5e-3, atol=1e-3)


def test_radii_agree_with_bisection_of_the_whole_interval(
    linear_cvae: Any, pairs: Any, generator: torch.Generator
) -> None:
    perturbations = LatentBall(linear_cvae(), 1.0)
    ours = needed_radii(perturbations, pairs.clean, pairs.changed, torch.full((COUNT,), 0.03), generator=generator)
    adversary = Adversary(
        perturbations, ApproximationError(tolerance=0.03), ProjectedLBFGS(50, restarts=2, starts="uniform")
    )
    theirs = bisect(adversary, None, pairs.clean, pairs.changed, largest=8.0, rounds=10, generator=generator).radii

    both = ours.isfinite() & theirs.isfinite()
    assert both.sum() > COUNT / 4
    assert_close(ours[both], theirs[both].double(), rtol=2e-2, atol=2e-2)


def test_the_certified_radius_is_an_order_statistic(generator: torch.Generator) -> None:
    radii = torch.arange(1, 301) / 100
    found = covering_radius(radii, torch.arange(300), tolerance=0.01, share=0.9, alpha=0.05, generator=generator)

    assert found.radius == pytest.approx(2.79)
    assert str(found) == (
        "With confidence 95 %, a radius of 2.79 prior standard deviations suffices for at least 90 % of pairs drawn "
        "like these to have a member within a mean squared error of 0.01 per pixel (root: 25.5 of 255 grey levels): "
        "it does for 279 of 300 held-out sources, one random pair each."
    )
    assert json.loads(json.dumps(found.summary(), allow_nan=False))["within"] == 279


def test_pairs_out_of_reach_need_an_infinite_radius() -> None:
    radii = torch.arange(1, 301) / 100
    radii[250:] = math.inf
    found = covering_radius(radii, torch.arange(300), tolerance=0.5, share=0.9, alpha=0.05, relative=True)
    less = covering_radius(radii, torch.arange(300), tolerance=0.5, share=0.7, alpha=0.05, relative=True)

    assert math.isinf(found.radius)
    assert str(found) == (
        "No radius is certified: only 250 of 300 held-out sources, one random pair each, have a member within 50 % of "
        "their own squared change at any radius that was searched, and 279 would have to for 90 % of pairs drawn like "
        "these with confidence 95 %."
    )
    said = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert (said["radius"], said["out_of_reach"], said["within"]) == (None, 50, 0)
    assert less.radius < 2.5


@pytest.mark.parametrize("relative", [False, True])
def test_the_criterion_certifies_the_radius_that_pairs_need(
    linear_cvae: Any, pairs: Any, generator: torch.Generator, relative: bool
) -> None:
    model = linear_cvae()
    tolerance = 0.8 if relative else 0.04
    criterion = CoveringRadius(tolerance=tolerance, share=0.3, alpha=0.1, relative=relative, rounds=12)
    found = criterion(LatentBall(model, 0.0), pairs, generator=generator)
    change = (pairs.clean - pairs.changed).double().square().flatten(1).mean(1)
    exact = exact_radii(model, pairs.clean, pairs.changed, tolerance * (change if relative else torch.ones(COUNT)))

    assert math.isfinite(found.radius)
    assert_close(found.radius, float(exact.sort().values[found.covering.rank - 1]), rtol=5e-3, atol=1e-3)
    assert found.relative == relative


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": -1.0}, "tolerance must be 0 or more and finite, got -1"),
        ({"tolerance": math.nan}, "tolerance must be 0 or more and finite, got nan"),
        ({"share": 1.0}, "share must be above 0 and below 1"),
        ({"alpha": 0.0}, "alpha must be above 0 and below 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoveringRadius(**{"tolerance": 0.01, "share": 0.9, "alpha": 0.05, **settings})


def test_radii_that_do_not_do_are_refused() -> None:
    asked = {"tolerance": 0.01, "share": 0.9, "alpha": 0.05}
    with pytest.raises(ValueError, match="radii and sources must have one row per pair, got 3 and 4"):
        covering_radius(torch.rand(3), torch.arange(4), **asked)
    with pytest.raises(ValueError, match="radii must be 0 or more"):
        covering_radius(torch.tensor([-1.0]), torch.arange(1), **asked)
    with pytest.raises(ValueError, match=r"29 held-out sources are needed .* got 3"):
        covering_radius(torch.rand(3), torch.arange(3), **asked)
