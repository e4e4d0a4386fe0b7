from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from augment import RandomCorruption
from perturbsets import ComposedSet, DrawnChanges, LatentBall, PerturbationSet, PixelBall, SpatialBox, Standardized
from perturbsets.recipe import Recipe

WIDE = PixelBall("l2", 2.0, bounds=(-math.inf, math.inf))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 1, 2, 3)


@pytest.mark.parametrize("radius", [0.0, 1.0, math.inf])
def test_offsets_count_standard_deviations_whatever_the_radius(
    linear_cvae: Any, images: torch.Tensor, radius: float
) -> None:
    model, w, v = linear_cvae(), torch.randn(4, 2), torch.randn(4, 6)
    latent, pixels = LatentBall(model, radius), PixelBall("l2", radius, bounds=(-math.inf, math.inf))

    assert_close(Standardized(latent, sigma=3.0).at(images).decode(w), latent.at(images).decode(3 * w))
    assert_close(Standardized(pixels, sigma=0.5).at(images).decode(v), images + 0.5 * v.view_as(images))


@pytest.mark.parametrize("share", [1.0, 0.3, torch.tensor([0.1, 1.0, 2.0, 3.0])])
def test_parts_of_a_composed_set_keep_their_own_units(linear_cvae: Any, images: torch.Tensor, share: Any) -> None:
    model, w = linear_cvae(), torch.randn(4, 8)
    composed = ComposedSet([LatentBall(model, 7.0), WIDE], radius=share)
    by_hand = LatentBall(model, 1.0).at(images).decode(1.5 * w[:, :2]) + (0.2 * w[:, 2:]).view_as(images)

    assert_close(Standardized(composed, sigma=(1.5, 0.2)).at(images).decode(w), by_hand)


def test_the_ball_is_one_over_all_parts(linear_cvae: Any, images: torch.Tensor) -> None:
    region = Standardized(ComposedSet([LatentBall(linear_cvae(), 7.0), WIDE]), sigma=[1.5, 0.2], radius=2.0).at(images)
    far = 10 * torch.randn(4, 8)

    assert_close(region.ball.norm(far), (far[:, :2].norm(dim=1) ** 2 + far[:, 2:].norm(dim=1) ** 2).sqrt())
    assert_close(region.project(far), 2.0 * far / far.norm(dim=1, keepdim=True))


def test_some_of_the_images(linear_cvae: Any, images: torch.Tensor) -> None:
    radii, rows, w = torch.tensor([0.5, 1.0, 2.0, 4.0]), torch.tensor([3, 0, 3]), 10 * torch.randn(4, 8)
    sets = ComposedSet([LatentBall(linear_cvae(), radii), WIDE])
    whole = Standardized(sets, sigma=(1.5, 0.2), radius=radii)
    region = whole.at(images)

    for kept in (region.select(rows), whole.select(rows).at(images[rows])):
        assert_close(kept.decode(w[rows]), region.decode(w)[rows])
        assert_close(kept.project(w[rows]), region.project(w)[rows])


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, (0.5, 0.0), ()])
def test_standard_deviations_that_are_none_are_refused(sigma: Any) -> None:
    with pytest.raises(ValueError, match="sigma must be above 0 and finite"):
        Standardized(WIDE, sigma=sigma)


@pytest.mark.parametrize(
    ("perturbations", "sigma", "message"),
    [
        (PixelBall("linf", 0.1), 0.1, "L2 ball for normal noise.* got a PixelRegion with a LinfBall"),
        (PixelBall("l1", 0.1), 0.1, "got a PixelRegion with a L1Ball"),
        (SpatialBox(), 0.1, "got a SpatialRegion with a LinfBall"),
        (DrawnChanges(RandomCorruption(["fog"])), 0.1, "got a DrawnRegion"),
        (PixelBall("l2", 1.0), (0.1, 0.2), "sigma must be one number for a set that is not composed"),
        (ComposedSet([SpatialBox(), PixelBall("l2", 1.0)]), (0.1, 0.2), r"every part .* L2 ball.* got \['LinfBall'\]"),
        (ComposedSet([ComposedSet([WIDE, WIDE]), WIDE]), (0.1, 0.2), r"every part .* L2 ball.* got \['ProductBall'\]"),
        (ComposedSet([WIDE, WIDE]), 0.1, "sigma must be one number for each of the 2 parts"),
        (ComposedSet([WIDE, WIDE]), (0.1, 0.1, 0.1), "sigma must be one number for each of the 2 parts"),
        (ComposedSet([WIDE, PixelBall("l2", 0.0)]), (0.1, 0.1), "parts must have radii above 0"),
    ],
)
def test_sets_without_an_l2_ball_are_refused(perturbations: PerturbationSet, sigma: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Standardized(perturbations, sigma=sigma).at(torch.rand(2, 1, 8, 8))


def test_a_radius_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="radius must be 0 or more"):
        Standardized(WIDE, sigma=1.0, radius=-1.0)


def test_recipes_may_say_one_standard_deviation_or_one_a_part() -> None:
    schema = json.dumps(
        Recipe.model_json_schema()["$defs"]["perturbsets_NoiseAugmentedTraining"]["properties"]["sigma"]
    )

    assert '"number"' in schema
    assert '"array"' in schema
