from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor
from torch.testing import assert_close

from perturbsets import APGD, Adversary, Ascent, FunctionObjective, PixelBall, ProjectedGradient, Region


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@given(seed=st.integers(0, 10_000), radius=st.floats(0, 3), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_everything_lies_in_ball_and_bounds(norm: str, seed: int, radius: float, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(3, 1, 2, 4, generator=draw).to(dtype) - 1
    region = PixelBall(norm, radius, bounds=(-1.0, 1.0)).at(x)  # type: ignore[arg-type]
    far = region.project(5 * torch.randn(3, 8, generator=draw).to(dtype))

    for offsets in (region.sample(generator=draw), region.random_start(generator=draw), far, region.centre()):
        images = region.decode(offsets)
        assert images.dtype == dtype
        assert ((images >= -1) & (images <= 1)).all()
        assert (region.ball.norm((images - x).flatten(1)) <= radius * (1 + 1e-6) + 1e-6).all()
        assert_close((images - x).flatten(1), offsets, atol=2e-6, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_projection_agrees_with_a_general_solver(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 6, dtype=torch.float64, generator=draw)
    point = 2 * torch.randn(1, 6, dtype=torch.float64, generator=draw)
    radius = 0.6
    region = PixelBall("l2", radius).at(x)
    solved = optimize.minimize(
        lambda u: ((u - point[0].numpy()) ** 2).sum(),
        torch.zeros(6).numpy(),
        jac=lambda u: 2 * (u - point[0].numpy()),
        bounds=list(zip((-x[0]).tolist(), (1 - x[0]).tolist(), strict=True)),
        constraints={"type": "ineq", "fun": lambda u: radius**2 - (u**2).sum(), "jac": lambda u: -2 * u},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )

    assert_close(region.project(point)[0], torch.from_numpy(solved.x), atol=1e-5, rtol=0)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), radius=st.floats(0.01, 4))
def test_projection_agrees_with_bisection(seed: int, size: int, radius: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(5, size, dtype=torch.float64, generator=draw).round(decimals=1)  # some lie on the bounds
    points = 4 * torch.randn(5, size, dtype=torch.float64, generator=draw)
    # By the optimality conditions the projection is clip(t v), with the largest t in [0, 1] inside the ball.
    low, high = torch.zeros(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)
    for _ in range(80):
        middle = (low + high) / 2
        inside = (middle * points).clamp(-x, 1 - x).norm(dim=1, keepdim=True) <= radius
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    bisected = (high * points).clamp(-x, 1 - x)

    assert_close(PixelBall("l2", radius).at(x).project(points), bisected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2), (3, 1, 2, 2)])
def test_zero_offsets_give_the_samples_of_any_shape(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    region = PixelBall("linf", 0.3).at(x)

    assert torch.equal(region.decode(region.centre()), x)
    assert region.centre().shape == (3, max(1, math.prod(shape[1:])))


def test_gradient_passes_to_the_offsets_unchanged_also_at_the_bounds() -> None:
    region = PixelBall("linf", 0.3).at(torch.tensor([[0.0, 0.5, 1.0]]))
    offsets = region.centre().requires_grad_()
    region.decode(offsets).sum().backward()

    assert_close(offsets.grad, torch.ones(1, 3))


def test_radius_infinity_leaves_the_bounds_alone() -> None:
    x = torch.rand(2, 5)
    for norm in ("l1", "l2", "linf"):
        region = PixelBall(norm, math.inf).at(x)  # type: ignore[arg-type]
        assert_close(region.decode(region.project(torch.full((2, 5), 9.0))), torch.ones(2, 5))


def test_some_images_keep_their_own_radius() -> None:
    x, rows = torch.full((3, 4), 0.5), torch.tensor([2, 0])
    region: Region = PixelBall("linf", torch.tensor([0.1, 0.2, 0.3])).at(x).select(rows)

    assert_close(region.project(torch.ones(2, 4)), torch.tensor([[0.3], [0.1]]).expand(2, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l3", "radius": 0.1}, "norm must be one of"),
        ({"norm": "l2", "radius": -0.1}, "radius must be 0 or more"),
        ({"norm": "linf", "radius": math.nan}, "radius must be 0 or more"),
        ({"norm": "l2", "radius": 0.1, "bounds": (1.0, 0.0)}, "bounds must be"),
        ({"norm": "l2", "radius": 0.1, "bounds": (0.0, math.nan)}, "bounds must be"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    # The type checker that watches the tests refuses an unknown norm before the package can.
    with pytest.raises((ValueError, TypeError), match=message.removesuffix(" must be one of")):
        PixelBall(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.tensor([[0.5, 1.01]]), r"within \[0, 1\], got 0\.5 to 1\.01 \(0\.01 above 1\)"),
        (torch.tensor([[0.5, -math.inf]]), "put it inside of the model"),
        (torch.tensor([[0.5, math.nan]]), "images must lie within"),
        (torch.ones(1, 2, dtype=torch.int64), r"images\.float\(\) / 255"),
    ],
)
def test_samples_that_do_not_fit_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelBall("l2", 0.1).at(images)


@pytest.mark.parametrize("perturbations", [PixelBall("l1", 0.1), PixelBall("l2", 0.1), PixelBall("linf", 0.1)])
def test_samples_that_rounding_left_outside_are_clamped(perturbations: PixelBall) -> None:
    given = torch.tensor([[1.0000002, -1e-7, 0.5]])

    region = perturbations.at(given)

    assert region.images.tolist() == [[1.0, 0.0, 0.5]]
    assert_close(region.decode(region.centre()), region.images, rtol=0, atol=0)
    assert given.max() > 1  # which was not written to


@pytest.mark.parametrize(
    "images",
    [
        torch.full((1, 3, 4, 4), 200, dtype=torch.uint8),
        torch.full((1, 3, 4, 4), 200),  # whole numbers that a default scaling would divide by 2^63
    ],
)
def test_advice_for_bytes_leads_to_their_values(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"`images\.float\(\) / 255`"):
        PixelBall("linf", 0.1).at(images)

    assert_close(PixelBall("linf", 0.1).at(images.float() / 255).images, torch.full((1, 3, 4, 4), 200 / 255))


def test_a_radius_per_image_must_fit_the_batch() -> None:
    with pytest.raises(ValueError, match="one per image, got"):
        PixelBall("l2", torch.tensor([0.1, 0.2])).at(torch.rand(3, 4))


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("ascent", [ProjectedGradient(60), APGD(60)])
def test_linear_models_fall_to_the_optimum_inside_ball_and_bounds(norm: Any, ascent: Ascent) -> None:
    x, weights = torch.rand(6, 30, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    radius = {"l1": 2.0, "l2": 0.8, "linf": 0.2}[norm]
    objective = FunctionObjective(lambda output, _: output @ weights)
    found = Adversary(PixelBall(norm, radius), objective, ascent)(None, x, None)

    for row in range(6):
        # maximise w.u inside the ball and 0 <= x + u <= 1
        if norm == "l1":  # as a linear programme in the positive and the negative part
            solved = optimize.linprog(
                -torch.cat([weights, -weights]).numpy(),
                A_ub=[[1.0] * 60],
                b_ub=[radius],
                bounds=[(0, high) for high in torch.cat([1 - x[row], x[row]]).tolist()],
            )
            optimum = -solved.fun
        elif norm == "linf":
            step = radius * weights.sign()
            optimum = float((((x[row] + step).clamp(0, 1)) - x[row]) @ weights)
        else:  # the optimum is the projection of a point far along the weights
            region = PixelBall("l2", radius).at(x[row : row + 1])
            optimum = float(region.project(1e6 * weights[None])[0] @ weights)
        success = float(found.loss[row] - x[row] @ weights)
        assert 0.99 * optimum <= success <= optimum + 1e-6


def test_pixel_regions_are_boxes_where_the_ball_is() -> None:
    images = torch.tensor([[0.1, 0.5], [1.0, 0.0]])
    low, high = PixelBall("linf", torch.tensor([0.3, 0.05])).at(images).box() or pytest.fail("no box")

    assert_close(low, torch.tensor([[-0.1, -0.3], [-0.05, 0.0]]))
    assert_close(high, torch.tensor([[0.3, 0.3], [0.0, 0.05]]))
    assert_close(PixelBall("l2", math.inf).at(images).box(), (-images, 1 - images))
    assert PixelBall("l2", 0.3).at(images).box() is None


def test_what_is_found_is_no_work_of_a_model_that_writes_to_its_input(generator: torch.Generator) -> None:
    x, y = torch.rand(6, 1, 4, 4, generator=generator), torch.arange(6) % 3
    model = torch.nn.Sequential(torch.nn.Threshold(0.5, 0.0, inplace=True), torch.nn.Flatten(), torch.nn.Linear(16, 3))

    found = Adversary(PixelBall("linf", 0.05))(model, x, y, generator=generator)

    assert_close((found.images - x).flatten(1), found.offsets, atol=1e-6, rtol=0)
