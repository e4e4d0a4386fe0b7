"""One set after another."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import SpatialChange
from perturbsets import (
    Adversary,
    ComposedSet,
    LatentBall,
    Margin,
    OneStep,
    PerturbationSet,
    PixelBall,
    ProjectedGradient,
    Region,
    SpatialBox,
)

TURN = SpatialBox(SpatialChange(rotation=20.0, shift=0.1))


def images(count: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, 1, 6, 7, dtype=dtype)


def offsets(region: Region, generator: torch.Generator) -> Tensor:
    return region.random_start(generator=generator)


def test_decoding_is_that_of_the_parts_in_turn(generator: torch.Generator) -> None:
    x, noise = images(), PixelBall("l2", 0.5)
    region = ComposedSet([TURN, noise]).at(x)
    v = offsets(region, generator)

    turned = TURN.at(x).decode(v[:, :4])
    assert region.size == 4 + 42
    assert_close(region.decode(v), (turned + 0.5 * v[:, 4:].view_as(x)).clamp(0, 1))
    assert_close(region.decode(region.centre()), x)


def test_three_parts_and_parts_of_parts_are_the_same(generator: torch.Generator) -> None:
    x, parts = images(), [TURN, PixelBall("linf", 0.1), PixelBall("l2", 0.2)]
    flat, nested = ComposedSet(parts).at(x), ComposedSet([ComposedSet(parts[:2]), parts[2]]).at(x)
    v = offsets(flat, generator)

    assert_close(nested.decode(v), flat.decode(v))
    assert_close(nested.project(3 * v), flat.project(3 * v))
    assert_close(nested.ball.norm(v), flat.ball.norm(v))


def test_gradients_flow_to_every_part(generator: torch.Generator) -> None:
    x = 0.3 + 0.4 * images(2)
    region = ComposedSet([TURN, PixelBall("l2", 0.1)]).at(x)
    v = (0.5 * offsets(region, generator)).requires_grad_()

    # Fixed points of the interpolation grid are kinks, which random offsets miss.
    assert torch.autograd.gradcheck(lambda u: region.decode(u).clamp(0.001, 1), v)


def test_gradients_flow_through_a_learned_set(linear_cvae: Any, generator: torch.Generator) -> None:
    x = 0.5 * torch.rand(3, 1, 2, 3)
    learned = LatentBall(linear_cvae(), 1.0)
    region = ComposedSet([PixelBall("linf", 0.1), learned]).at(x)
    v = (0.5 * offsets(region, generator)).requires_grad_()
    (gradient,) = torch.autograd.grad(region.decode(v).square().sum(), v)

    step = 1e-3 * torch.randn_like(v)
    rise = [region.decode(v.detach() + sign * step).square().sum() for sign in (1, -1)]
    assert_close((gradient * step).sum(), (rise[0] - rise[1]) / 2, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.5, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)])
def test_everything_found_is_within_each_radius(share: Any, generator: torch.Generator) -> None:
    x, y = images(), torch.tensor([0, 1, 0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(42, 2)).double()
    turn, noise = TURN, PixelBall("linf", torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    composed = ComposedSet([turn, noise], radius=share)
    found = Adversary(composed, ascent=ProjectedGradient(5))(model, x, y, generator=generator)

    limit = torch.as_tensor(share, dtype=torch.float64).expand(3)
    assert (found.offsets.abs().amax(1) <= limit + 1e-12).all()
    turned = turn.at(x).decode(found.offsets[:, :4])
    assert ((found.images - turned).flatten(1).abs().amax(1) <= limit * noise.radius + 1e-12).all()
    assert 0 <= found.images.min() <= found.images.max() <= 1


def test_two_cubes_are_the_cube_of_both_radii() -> None:
    x, y = torch.full((2, 1, 3, 4), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
    gap = (model[1].weight[1] - model[1].weight[0]).detach()
    twice = ComposedSet([PixelBall("linf", 0.1), PixelBall("linf", 0.25)])
    found = Adversary(twice, Margin(), OneStep())(model, x, y)

    # Hölder: the most that two cubes together can add.
    assert_close(found.loss, torch.tensor([0.5, -0.5]).double() * gap.sum() + 0.35 * gap.abs().sum())


def test_some_images_are_as_in_the_batch(generator: torch.Generator) -> None:
    x, rows = images(), torch.tensor([2, 0])
    radii = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    composed = ComposedSet([PixelBall("l2", radii), TURN, PixelBall("linf", radii)], radius=2 * radii)
    region = composed.at(x)
    v = 2 * offsets(region, generator)
    kept = region.select(rows)

    for other in (kept, composed.select(rows).at(x[rows])):
        assert_close(other.images, x[rows])
        assert_close(other.decode(v[rows]), region.decode(v)[rows])
        assert_close(other.project(v[rows]), region.project(v)[rows])


def test_samples_are_drawn_from_each_part(generator: torch.Generator) -> None:
    class Corner(PerturbationSet):
        """Always draws its corner."""

        radius = 1.0

        def at(self, images: Tensor) -> Region:
            region = PixelBall("linf", 0.5).at(images)
            region.sample = lambda *, generator=None: torch.full_like(region.low, 0.5)  # type: ignore[method-assign]
            return region

    drawn = ComposedSet([TURN, Corner()]).at(images()).sample(generator=generator)

    assert_close(drawn[:, 4:], torch.ones(3, 42, dtype=torch.float64))
    assert drawn[:, :4].abs().max() <= 1


def test_what_cannot_be_composed_is_refused() -> None:
    class Bare(PerturbationSet):
        def at(self, images: Tensor) -> Region:
            return TURN.at(images)

    with pytest.raises(ValueError, match="parts must be at least two sets, got 1"):
        ComposedSet([TURN])
    with pytest.raises(ValueError, match="radius must be 0 or more, a share of the parts' radii, got nan"):
        ComposedSet([TURN, TURN], radius=math.nan)
    with pytest.raises(ValueError, match="parts must have finite radii"):
        ComposedSet([TURN, PixelBall("l2", math.inf)]).at(images())
    with pytest.raises(ValueError, match="parts must have a radius for a share of it, got Bare"):
        ComposedSet([TURN, Bare()], radius=0.5).at(images())
