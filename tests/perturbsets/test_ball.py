from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from perturbsets.sets import Ball, L1Ball, L2Ball, LinfBall
from perturbsets.sets.balls import log_chi_cdf

BALLS = [L1Ball, L2Ball, LinfBall]


@pytest.mark.parametrize("kind", BALLS)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.01, 10))
def test_projection_is_the_nearest_point_inside(kind: type[Ball], seed: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ball = kind(radius)
    points = 5 * torch.randn(4, 6, dtype=torch.float64, generator=generator)
    projected = ball.project(points)
    others = ball.uniform(points, generator)

    assert (ball.norm(projected) <= radius * (1 + 1e-12)).all()
    assert_close(ball.project(projected), projected)
    # A point is the projection iff no feasible direction shortens the way.
    assert (((points - projected) * (others - projected)).sum(1) <= 1e-9).all()


@pytest.mark.parametrize("kind", BALLS)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.01, 4))
def test_projection_with_bounds_is_the_nearest_point_of_both(kind: type[Ball], seed: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ball = kind(radius)
    x = torch.rand(4, 9, dtype=torch.float64, generator=generator)
    low, high = ball.cut(-x, 1 - x)
    points = 3 * torch.randn(4, 9, dtype=torch.float64, generator=generator)
    projected = ball.project_in_box(points, low, high)
    others = ball.project_in_box(ball.uniform(points, generator), low, high)

    assert (ball.norm(projected) <= radius * (1 + 1e-9)).all()
    assert ((projected >= -x) & (projected <= 1 - x)).all()
    assert (((points - projected) * (others - projected)).sum(1) <= 1e-6).all()


def test_projection_is_per_image_and_independent_of_the_batch() -> None:
    points = 100 * torch.randn(64, 16)
    ball = L2Ball(2.7)

    assert_close(ball.norm(ball.project(points)), torch.full((64,), 2.7))
    assert_close(ball.project(points)[:1], ball.project(points[:1]))


@pytest.mark.parametrize("kind", BALLS)
def test_one_radius_per_image_and_the_ends_of_the_range(kind: type[Ball]) -> None:
    points = torch.randn(3, 5)
    mixed = kind(torch.tensor([0.0, 0.5, math.inf])).project(points)

    assert_close(mixed[0], torch.zeros(5))
    assert_close(mixed[1:2], kind(0.5).project(points[1:2]))
    assert_close(mixed[2], points[2])
    assert_close(
        kind(torch.tensor([0.5, 0.7])).select(torch.tensor([1])).project(points[:1]), kind(0.7).project(points[:1])
    )


@pytest.mark.parametrize("kind", BALLS)
@pytest.mark.parametrize("radius", [-1.0, float("nan"), torch.tensor([1.0, -0.1])])
def test_impossible_radii_are_refused(kind: type[Ball], radius: float) -> None:
    with pytest.raises(ValueError, match="radius must be 0 or more"):
        kind(radius)
    with pytest.raises(ValueError, match="one per image, got"):
        kind(torch.ones(2)).project(torch.ones(3, 4))


@pytest.mark.parametrize("kind", BALLS)
def test_steepest_step_has_norm_one_and_survives_zero_and_tiny_gradients(kind: type[Ball]) -> None:
    gradient = torch.stack([torch.zeros(5), 1e-30 * torch.tensor([3.0, 4.0, 0.0, 0.0, 0.0]), torch.randn(5)])
    step = kind(1.0).steepest(gradient)

    assert_close(kind(1.0).norm(step), torch.tensor([0.0, 1.0, 1.0]))


def test_uniform_draws_fill_the_ball() -> None:
    generator = torch.Generator().manual_seed(1)
    norms = L2Ball(3.0).uniform(torch.empty(4000, 5), generator).norm(dim=1)

    assert stats.kstest((norms / 3.0).numpy() ** 5, "uniform").pvalue > 0.01
    assert (
        stats.kstest(
            LinfBall(2.0).uniform(torch.empty(4000, 1), generator)[:, 0].numpy(), stats.uniform(-2, 4).cdf
        ).pvalue
        > 0.01
    )


@pytest.mark.parametrize(("size", "radius"), [(2, 0.7), (5, 2.0), (8, 9.0), (3, math.inf)])
def test_truncated_normal_agrees_with_rejection(size: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(2)
    drawn = L2Ball(radius).normal(torch.empty(3000, size), generator).norm(dim=1)
    free = torch.randn(60_000, size, generator=generator).norm(dim=1)

    assert drawn.max() <= radius
    assert stats.ks_2samp(drawn.numpy(), free[free <= radius].numpy()).pvalue > 0.01


@pytest.mark.parametrize(("size", "radius"), [(4096, 0.1), (4096, 60.0), (4096, 100.0), (1000, 5.0), (16, 2.7)])
def test_truncated_normal_is_exact_where_probabilities_underflow(size: int, radius: float) -> None:
    like = torch.empty(2000, size, dtype=torch.float64)
    norms = L2Ball(radius).normal(like, torch.Generator().manual_seed(3)).norm(dim=1).numpy()
    share = np.exp(log_chi_cdf(norms, size) - log_chi_cdf(np.array(radius), size))

    assert norms.max() <= radius * (1 + 1e-12)
    assert stats.kstest(share, "uniform").pvalue > 0.01


def test_log_of_the_distribution_function_agrees_with_scipy() -> None:
    radius = np.array([0.5, 1.0, 4.0, 9.0])

    np.testing.assert_allclose(log_chi_cdf(radius, 16), stats.chi(16).logcdf(radius), rtol=1e-10, atol=1e-16)
    # Far below the smallest double the leading term of the series alone is nearly exact.
    a, x = 2048.0, 0.005
    leading = a * math.log(x) - x - math.lgamma(a + 1)
    np.testing.assert_allclose(log_chi_cdf(np.array(0.1), 4096), leading, rtol=1e-8)


def test_uniform_draws_fill_the_cross_polytope() -> None:
    drawn = L1Ball(3.0).uniform(torch.empty(4000, 5, dtype=torch.float64), torch.Generator().manual_seed(1))
    norms, largest = L1Ball(1.0).norm(drawn) / 3, drawn.abs().amax(1) / L1Ball(1.0).norm(drawn)

    assert stats.kstest(norms.numpy() ** 5, "uniform").pvalue > 0.01
    assert abs((drawn > 0).double().mean() - 0.5) < 0.02
    # On the surface the shares of the coordinates are uniform on the simplex: their largest has mean H_n / n.
    assert abs(largest.mean() - sum(1 / k for k in range(1, 6)) / 5) < 0.01


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), radius=st.floats(0.01, 4))
def test_l1_projection_agrees_with_sorting_and_with_bisection(seed: int, size: int, radius: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(5, size, dtype=torch.float64, generator=draw).round(decimals=1)  # some lie on the bounds
    points = 4 * torch.randn(5, size, dtype=torch.float64, generator=draw)
    ball = L1Ball(radius)
    # Without bounds: Duchi et al., figure 1.
    ordered = points.abs().sort(1, descending=True).values
    thresholds = (ordered.cumsum(1) - radius) / torch.arange(1, size + 1)
    count = (ordered > thresholds).sum(1, keepdim=True)
    threshold = thresholds.gather(1, count - 1).clamp_min(0)
    assert_close(ball.project(points), (points.abs() - threshold).clamp_min(0) * points.sign(), atol=1e-9, rtol=0)

    low, high = torch.zeros(5, 1, dtype=torch.float64), points.abs().amax(1, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        lowered = ((points.abs() - middle).clamp_min(0) * points.sign()).clamp(-x, 1 - x)
        inside = lowered.abs().sum(1, keepdim=True) <= radius
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    bisected = ((points.abs() - high).clamp_min(0) * points.sign()).clamp(-x, 1 - x)
    assert_close(ball.project_in_box(points, *ball.cut(-x, 1 - x)), bisected, atol=1e-9, rtol=0)


def test_l1_steps_are_sparse_and_rest_at_the_best_corner() -> None:
    ball = L1Ball(torch.tensor([1.0, 0.5]))
    gradient = torch.tensor([[3.0, -2.0, 1.0, 0.5], [0.1, 0.2, -5.0, 4.0]])
    low, high = ball.cut(-torch.full((2, 4), 0.4), torch.full((2, 4), 0.4))

    assert_close(ball.steepest(gradient), torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]))
    corner = torch.tensor([[0.4, -0.4, 0.2, 0.0], [0.0, 0.0, -0.4, 0.1]])
    step = ball.steepest_in_box(gradient, low, high)
    assert_close(step, torch.tensor([[3.0, -2.0, 1.0, 0.0], [0.0, 0.0, -5.0, 4.0]]) / torch.tensor([[6.0], [9.0]]))
    assert_close(ball.project_in_box(corner + 0.3 * step, low, high), corner)
    assert_close(ball.steepest_in_box(torch.zeros(2, 4), low, high), torch.zeros(2, 4))


def test_l1_balls_have_no_normal_draws() -> None:
    with pytest.raises(ValueError, match="ball must be l2 or linf"):
        L1Ball(1.0).normal(torch.empty(2, 3))


def test_truncated_normal_in_a_cube_is_per_coordinate() -> None:
    drawn = LinfBall(0.8).normal(torch.empty(4000, 1), torch.Generator().manual_seed(4))[:, 0].numpy()

    assert stats.kstest(drawn, stats.truncnorm(-0.8, 0.8).cdf).pvalue > 0.01


def test_infinite_balls_have_no_uniform_draw() -> None:
    with pytest.raises(ValueError, match="radius must be finite"):
        L2Ball(math.inf).uniform(torch.empty(2, 3))


@pytest.mark.parametrize("kind", [L1Ball, L2Ball, LinfBall])
def test_balls_without_a_limit_are_boxes_and_cubes_always_are(kind: type[Ball]) -> None:
    like = torch.zeros(2, 3)
    limited, unlimited = kind(torch.tensor([0.5, math.inf])).box(like), kind(math.inf).box(like)

    assert_close(unlimited, (torch.full((2, 3), -math.inf), torch.full((2, 3), math.inf)))
    if kind is LinfBall:
        limits = torch.tensor([[0.5], [math.inf]]).expand(2, 3)
        assert_close(limited, (-limits, limits))
    else:
        assert limited is None


@pytest.mark.parametrize("size", [1, 3])
def test_a_normal_draw_of_zero_has_a_direction_too(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = torch.randn

    def with_zeros(*args: Any, **kwargs: Any) -> torch.Tensor:
        return sound(*args, **kwargs).index_fill(0, torch.tensor([1, 4]), 0)  # as happens once in 10⁷ draws

    monkeypatch.setattr(torch, "randn", with_zeros)
    for drawn in (L2Ball(2.0).normal(torch.empty(6, size)), L2Ball(2.0).uniform(torch.empty(6, size))):
        assert drawn.isfinite().all()
        assert (drawn.norm(dim=1) > 0).all()
