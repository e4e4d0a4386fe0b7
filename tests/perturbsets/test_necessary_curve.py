"""The whole of the necessary subset property: exact nearest members, curves, floors, groups, worst pairs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.testing import assert_close

from perturbsets import LatentBall, NecessarySubset
from tests.perturbsets.criteria_sets import ClosedForm, LightPairs, honest, returns_only_x

COUNT = 24
SHARES = (0.1, 0.3, 0.6, 2.0, 5.0)


@pytest.fixture
def pairs(memory_pairs: Any) -> Any:
    clean = torch.rand(COUNT, 1, 2, 3)
    return memory_pairs(clean, (clean + 0.2 * torch.randn(COUNT, 1, 2, 3)).clamp(0, 1), torch.arange(COUNT) // 3)


def steep(linear_cvae: Any) -> Any:
    """A linear generator whose directions are neither orthogonal nor equally long: 20 : 4 : 1."""
    model = linear_cvae(latent=3)
    basis = torch.randn(6, 6).double().svd()[0][:, :3] * torch.tensor([1.0, 0.2, 0.05]).double()
    with torch.no_grad():
        model._generator.basis.copy_(basis @ torch.randn(3, 3).double().svd()[0])
    return model


@torch.no_grad()
def trust_region(model: Any, clean: Tensor, changed: Tensor, radius: float) -> Tensor:
    """Least errors over a ball, from the eigenvalues and the multiplier at which the solution's norm is the radius."""
    prior = model.prior(model.context(clean))
    basis = (model._generator.basis * prior.scale[0]).double()
    rests = ((changed - clean).flatten(1) - prior.mean @ model._generator.basis.T).double()
    values, vectors = torch.linalg.eigh(basis.T @ basis)
    errors = []
    for rest in rests:
        slope = vectors.T @ basis.T @ rest

        def excess(multiplier: float, slope: Tensor = slope) -> float:
            return float((slope / (values + multiplier)).norm()) - radius

        multiplier = brentq(excess, 0, float(slope.norm()) / radius + 1, xtol=1e-14) if excess(0.0) > 0 else 0.0
        errors.append((rest - basis @ vectors @ (slope / (values + multiplier))).square().mean())
    return torch.stack(errors)


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_every_radius_comes_to_the_exact_minimum_of_the_trust_region(
    linear_cvae: Any, pairs: Any, radius: float
) -> None:
    model = steep(linear_cvae)
    result = NecessarySubset(steps=60, restarts=1, curve=(0.3, 3.0), curve_steps=30)(LatentBall(model, radius), pairs)

    for place, found in zip(result.curve.radii, result.curve.search, strict=True):
        exact = trust_region(model, pairs.clean, pairs.changed, place)
        assert (found.double() >= exact - 1e-7).all()  # rounding in single precision
        # Steps cut off at a sphere do not know its curvature: a rare pair still creeps when the others have arrived.
        assert_close(found.double(), exact, rtol=1e-2, atol=1e-6)
        assert_close(found.double().mean(), exact.mean(), rtol=1e-3, atol=0)
    assert_close(result.search, result.curve.search[1], rtol=0, atol=0)


def test_few_steps_are_enough_for_the_rest_of_the_curve(linear_cvae: Any, pairs: Any) -> None:
    model = steep(linear_cvae)
    result = NecessarySubset(restarts=1)(LatentBall(model, 3.0), pairs)

    for place, found in zip(result.curve.radii, result.curve.search, strict=True):
        exact = trust_region(model, pairs.clean, pairs.changed, place)
        assert float(found.double().mean() / exact.mean()) < 1.01


@pytest.mark.parametrize("steps", [1, 3])
def test_no_pair_is_further_from_a_larger_ball_however_weak_the_search(steps: int) -> None:
    """A crumpled generator, on which so short a search ends anywhere."""

    def crumpled(images: Tensor, latents: Tensor) -> Tensor:
        waves = torch.sin(4 * latents.sum(1) + 9 * latents[:, 0].square()) + torch.cos(7 * latents[:, 1])
        return (images + 0.2 * waves[:, None, None, None]).clamp(0, 1)

    model = ClosedForm(4, crumpled, lambda images, changed: torch.randn(len(images), 4))
    criterion = NecessarySubset(steps, restarts=2, curve=SHARES, curve_steps=steps)
    result = criterion(LatentBall(model, 2.0), LightPairs(), generator=torch.Generator().manual_seed(1))

    for errors in (result.curve.search, result.curve.mismatched_search):
        assert (errors[1:] <= errors[:-1]).all()
        assert (errors[0] > errors[-1]).any()
    region = LatentBall(model, 2.0).at(LightPairs().clean)
    assert_close((region.decode(result.offsets) - LightPairs().changed).square().flatten(1).mean(1), result.search)
    assert (result.offsets.norm(dim=1) <= 2.0 * (1 + 1e-6)).all()


def test_floor_is_what_no_ball_goes_below_and_never_a_divisor() -> None:
    pairs = LightPairs()
    small, large = (
        NecessarySubset(15, restarts=1, curve=())(LatentBall(honest(), radius), pairs) for radius in (0.5, 9.0)
    )
    cut, whole = small.summary(), large.summary()

    # The encoding of this model is exact, so that the floor is zero: all that the small ball leaves is the ball's own.
    assert (small.floor <= 1e-4 * small.identity.mean()).all()
    assert cut["search"]["above_floor"] == pytest.approx(cut["search"]["share"], rel=1e-3)
    assert cut["search"]["above_floor"] > 0.2
    assert abs(whole["search"]["above_floor"]) < 1e-3
    nothing = NecessarySubset(5, restarts=1, curve=())(LatentBall(returns_only_x(), 1.0), pairs).summary()
    assert nothing["search"]["share"] == pytest.approx(1)
    assert nothing["search"]["above_floor"] is None


def test_groups_come_from_the_pairs_and_their_means_add_up() -> None:
    pairs = LightPairs()
    result = NecessarySubset(10, restarts=1, curve=())(LatentBall(honest(), 0.5), pairs)
    groups = result.summary()["groups"]

    assert {name: sorted(entries) for name, entries in groups.items()} == {
        "condition": ["darker", "lighter"],
        "severity": ["1", "2"],
        "class": ["0", "1", "2", "3"],
    }
    for entries in groups.values():
        total = sum(entry["mean"] * entry["pairs"] for entry in entries.values())
        assert total == pytest.approx(float(result.search.double().sum()), rel=1e-6)
    rows = pairs.condition == 1
    lighter = groups["condition"]["lighter"]
    assert lighter["share"] == pytest.approx(float(result.search[rows].sum() / result.identity[rows].sum()), rel=1e-5)
    assert lighter["share_low"] < lighter["share"] < lighter["share_high"]


def test_worst_pairs_are_those_with_the_largest_shares_left() -> None:
    pairs = LightPairs()
    pairs.changed[17] = torch.rand_like(pairs.changed[17])
    pairs.changed[5] = pairs.clean[5]  # no change: a share of nothing is not the worst
    result = NecessarySubset(20, restarts=1, curve=())(LatentBall(honest(), 3.0), pairs)
    summary = result.summary()

    assert int(result.worst(1)[0]) == 17
    assert 5 not in result.worst(3).tolist()
    assert summary["worst"][0]["pair"] == 17
    assert summary["worst"][0]["source"] == 17 // 3
    assert len(result.worst(10_000)) == len(pairs)


def test_summary_is_plain_json_without_nan() -> None:
    summary = NecessarySubset(3, restarts=2)(LatentBall(honest(), 1.0), LightPairs()).summary()

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert [entry["radius"] for entry in summary["curve"]] == [0.125, 0.25, 0.5, 0.75, 1.0, 1.5]
    assert 0 <= summary["copied"]["mean"] <= 1


def test_generators_that_give_nan_are_named_with_their_pairs() -> None:
    def broken(images: Tensor, latents: Tensor) -> Tensor:
        sign = torch.where(images[:, :1, :1, :1] < 0.5, -1.0, 1.0)
        return images * (sign + 0 * latents[:, :1, None, None]).sqrt()

    model = ClosedForm(2, broken, lambda images, changed: torch.ones(len(images), 2))
    with pytest.raises(
        ValueError, match=r"NaN or infinity for 60 of 120 pairs \(0, 1, 2, 6, 7, 8, .*, \.\.\.\): look at"
    ):
        NecessarySubset(2, restarts=1)(LatentBall(model, 1.0), LightPairs())
    model = ClosedForm(
        2, lambda images, latents: images, lambda images, changed: torch.full((len(images), 2), math.nan)
    )
    with pytest.raises(ValueError, match="encodings must make finite images"):
        NecessarySubset(2, restarts=1)(LatentBall(model, 1.0), LightPairs())


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ((-0.5, 2.0), "above 0 and finite"),
        ((0.5, math.nan), "above 0 and finite"),
        ((math.inf,), "above 0 and finite"),
        ((2.0, 0.5), "curve must rise"),
        ((0.5, 0.5), "curve must rise"),
    ],
)
def test_shares_that_make_no_curve_are_refused(curve: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NecessarySubset(curve=curve)


@pytest.mark.parametrize("radius", [math.inf, torch.ones(120)])
def test_radii_that_make_no_curve_are_refused(radius: Any) -> None:
    with pytest.raises(ValueError, match=r"must have one finite radius|must be one number here, got 120"):
        NecessarySubset()(LatentBall(honest(), radius), LightPairs())


def test_pairs_without_changes_and_groups_that_do_not_fit_are_refused() -> None:
    pairs = LightPairs()
    groups = NecessarySubset(1, restarts=1)(LatentBall(honest(), 1.0), pairs).groups
    short = {name: replace_number(grouping, grouping.number[:-1]) for name, grouping in groups.items()}
    with pytest.raises(
        ValueError, match=r"groups\['condition'\] must number the group of each of 120 pairs, got \[119\]"
    ):
        NecessarySubset(1, restarts=1)(LatentBall(honest(), 1.0), pairs, groups=short)
    wild = {name: replace_number(grouping, grouping.number + 9) for name, grouping in groups.items()}
    with pytest.raises(ValueError, match="one for each of its 2 names, got 9 to 10"):
        NecessarySubset(1, restarts=1)(LatentBall(honest(), 1.0), pairs, groups=wild)
    pairs.changed = pairs.clean
    with pytest.raises(ValueError, match="pairs must hold changes"):
        NecessarySubset(1, restarts=1)(LatentBall(honest(), 1.0), pairs)


def replace_number(grouping: Any, number: Tensor) -> Any:
    return grouping._replace(number=number)
