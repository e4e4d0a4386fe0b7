"""Accelerated ascent and its duality gap, against bounded least squares solved exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    AcceleratedGradient,
    Adversary,
    CrossEntropy,
    LayerOutputs,
    LinearFeatureDistance,
    Loss,
    PixelBall,
    Region,
)
from perturbsets.ascents import duality_gap

DOUBLE = torch.float64


class LeastSquares(Loss):
    """Minus the squared residual of a linear system per image; takes down every point."""

    def __init__(self, matrix: Tensor, goal: Tensor) -> None:
        self.matrix, self.goal = matrix, goal
        self.points: list[Tensor] = []

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(offsets.detach())
        residual = torch.einsum("bij,bj->bi", self.matrix, offsets) - self.goal
        return -residual.square().sum(1), torch.zeros(len(offsets), dtype=torch.bool)

    def select(self, rows: Tensor) -> LeastSquares:
        return LeastSquares(self.matrix[rows], self.goal[rows])


def systems(count: int, rows: int, columns: int, condition: float) -> LeastSquares:
    """Systems with singular values from 1 to the condition number."""
    left = torch.linalg.qr(torch.randn(count, rows, rows, dtype=DOUBLE))[0]
    right = torch.linalg.qr(torch.randn(count, columns, columns, dtype=DOUBLE))[0]
    number = min(rows, columns)
    values = torch.logspace(0, math.log10(condition), number, dtype=DOUBLE)
    matrix = left[..., :number] * values @ right[..., :number].mT
    return LeastSquares(matrix, 3 * condition * torch.randn(count, rows, dtype=DOUBLE) / rows**0.5)


def box(count: int, size: int, radius: float, dtype: torch.dtype = DOUBLE) -> Region:
    """A box around samples, cut by the bounds at some of the coordinates."""
    return PixelBall("linf", radius, bounds=(-1.0, 1.0)).at(torch.linspace(-1, 1, size).to(dtype).repeat(count, 1))


def exact(matrix: Tensor, goal: Tensor, region: Region) -> Tensor:
    """The highest values, by an active set method that ends at the optimum."""
    limits = region.box()
    assert limits is not None
    tops = []
    for row in range(len(goal)):
        low, high = (side[row].numpy() for side in limits)
        held = lsq_linear(matrix[row].numpy(), goal[row].numpy(), (low, np.maximum(high, low + 1e-12)), method="bvls")
        tops.append(-2 * held.cost)
    return torch.tensor(tops, dtype=DOUBLE)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize(("rows", "columns", "condition"), [(8, 6, 10.0), (30, 20, 100.0), (5, 12, 3.0)])
def test_tops_of_least_squares_in_a_box_are_reached_and_proven(
    rows: int, columns: int, condition: float, tolerance: float
) -> None:
    loss, region = systems(6, rows, columns, condition), box(6, columns, 0.4)
    best = AcceleratedGradient(4000, tolerance=tolerance, stop_on_success=True)(region, loss)
    missing = exact(loss.matrix, loss.goal, region) - best.loss
    gap, rounding = duality_gap(region, loss, best.offsets), 1e-9 * best.loss.abs() + 1e-12

    assert (missing >= -rounding).all()
    assert (missing <= gap + rounding).all()
    assert best.bounds is not None
    assert (missing <= best.bounds - best.loss + rounding).all()
    assert (best.bounds - best.loss <= (tolerance * best.loss.abs()).clamp_min(1e-6)).all()
    assert best.calls.max() < 4001


@pytest.mark.parametrize("layers", ["1", ["1", "4"]])
def test_tops_of_the_linear_network_are_those_of_its_matrix_written_out(layers: Any) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 8), nn.ReLU()).to(DOUBLE)
    sources, guides = torch.rand(2, 5, 1, 5, 5, dtype=DOUBLE)
    outputs = LayerOutputs(model, layers)
    names = outputs.names
    near, far = outputs(guides), outputs(sources)
    matrices, goals = [], []
    for row in range(5):
        one = sources[row : row + 1]
        scales = {name: 1 / ((far[name] - near[name])[row].norm() * len(names) ** 0.5) for name in names}
        parts = torch.autograd.functional.jacobian(lambda x: tuple(outputs(x)[name] for name in names), one)
        matrices.append(torch.cat([s * part.reshape(-1, 25) for s, part in zip(scales.values(), parts, strict=True)]))
        goals.append(torch.cat([scales[name] * (near[name] - far[name])[row] for name in names]))
    perturbations = PixelBall("linf", 0.15)
    ascent = AcceleratedGradient(2000, stop_on_success=True)
    found = Adversary(perturbations, LinearFeatureDistance(layers), ascent)(model, sources, guides)
    tops = exact(torch.stack(matrices).detach(), torch.stack(goals).detach(), perturbations.at(sources))

    assert (tops < -0.05).all()  # out of reach, so that the bound of the box counts
    assert ((tops - found.loss) >= -1e-9).all()
    assert ((tops - found.loss) <= 1e-3 * found.loss.abs()).all()


def test_the_gap_of_a_linear_loss_is_what_is_missing() -> None:
    weights, region = torch.randn(4, 6, dtype=DOUBLE), box(4, 6, 0.3)

    class Linear(LeastSquares):
        def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
            return (weights * offsets).sum(1), torch.zeros(4, dtype=torch.bool)

    loss = Linear(weights, weights)
    best = AcceleratedGradient(60)(region, loss)
    at = region.random_start(generator=torch.Generator().manual_seed(0))

    assert best.calls.max() < 61
    assert (duality_gap(region, loss, best.offsets) <= 1e-3 * best.loss.abs()).all()
    assert_close(duality_gap(region, loss, at), best.loss - (weights * at).sum(1))


def test_acceleration_takes_far_fewer_steps_than_the_plain_gradient_of_known_curvature() -> None:
    loss = systems(3, 60, 40, 100.0)
    region = PixelBall("linf", 10.0, bounds=(-10.0, 10.0)).at(torch.zeros(3, 40, dtype=DOUBLE))
    best = AcceleratedGradient(4000, stop_on_success=True)(region, loss)
    largest = 2 * 100.0**2  # eigenvalue of the curvature
    u = region.centre()
    for _ in range(5 * int(best.calls.max())):
        residual = torch.einsum("bij,bj->bi", loss.matrix, u) - loss.goal
        u = region.project(u - 2 * torch.einsum("bij,bi->bj", loss.matrix, residual) / largest)
    value, _ = loss(u, u)

    assert (best.calls < 4001).all()
    assert (duality_gap(region, loss, u) > 1e-3 * value.abs()).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_point_tried_is_inside(dtype: torch.dtype) -> None:
    loss, region = systems(4, 10, 8, 30.0), box(4, 8, 0.4, dtype)
    loss = LeastSquares(loss.matrix.to(dtype), loss.goal.to(dtype))
    AcceleratedGradient(60)(region, loss)
    limits = region.box()

    assert limits is not None
    for point in loss.points:
        assert ((point >= limits[0]) & (point <= limits[1])).all()


def test_an_image_alone_goes_the_way_it_goes_in_a_batch() -> None:
    loss, region = systems(4, 10, 8, 30.0), box(4, 8, 0.4)
    together = AcceleratedGradient(80, tolerance=1e-5, stop_on_success=True)(region, loss)
    for row in range(4):
        rows = torch.tensor([row])
        alone = AcceleratedGradient(80, tolerance=1e-5, stop_on_success=True)(region.select(rows), loss.select(rows))
        assert_close(alone.offsets[0], together.offsets[row], atol=1e-9, rtol=0)
        assert alone.calls[0] == together.calls[row]


def test_boxes_without_extent_and_flat_losses_end_at_once() -> None:
    loss = systems(2, 4, 3, 2.0)
    best = AcceleratedGradient(50)(box(2, 3, 0.0), loss)
    flat = AcceleratedGradient(50)(box(2, 3, 0.5), LeastSquares(0 * loss.matrix, loss.goal))

    for each in (best, flat):
        assert (each.calls == 5).all()
        assert (each.offsets == 0).all()
        assert each.finite.all()


@pytest.mark.parametrize(
    "perturbations",
    [PixelBall("l2", 1.0), PixelBall("linf", math.inf, bounds=(-math.inf, math.inf))],
    ids=["round", "endless"],
)
def test_regions_that_are_no_finite_box_are_refused(perturbations: PixelBall) -> None:
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"ascent must fit the set, .* it needs a box of finite sides"):
        Adversary(perturbations, CrossEntropy(), AcceleratedGradient(3))(nn.Linear(3, 2), x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="region must be a box of finite sides, got a PixelRegion"):
        duality_gap(perturbations.at(x), systems(2, 4, 3, 2.0), x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"tolerance": -1.0}, "tolerance must be 0 or more"),
        ({"absolute": math.nan}, "absolute must be 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AcceleratedGradient(**settings)
