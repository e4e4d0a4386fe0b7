"""Quasi-Newton ascent, against SciPy's and against matrices written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor
from torch.testing import assert_close

from perturbsets import APGD, Loss, PixelBall, ProjectedLBFGS, Region
from perturbsets.ascents.projected_lbfgs import Curvature

Function = Callable[[Tensor], Tensor]


class Landscape(Loss):
    """A function of the samples with a row of parameters per image; takes down every value."""

    def __init__(self, function: Callable[..., Tensor], *parameters: Tensor, level: float = math.inf) -> None:
        self.function, self.parameters, self.level = function, parameters, level
        self.values: list[Tensor] = []
        self.points: list[Tensor] = []

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = self.function(images, *self.parameters)
        self.values.append(value.detach())
        self.points.append(offsets.detach())
        return value, value.detach() > self.level

    def select(self, rows: Tensor) -> Landscape:
        return Landscape(self.function, *(each[rows] for each in self.parameters), level=self.level)


def box(count: int, size: int, limit: float) -> Region:
    """Samples of zeros between bounds, with no other limit."""
    images = torch.zeros(count, size, dtype=torch.float64)
    return PixelBall("l2", math.inf, bounds=(-limit, limit)).at(images)


def quadratics(count: int, size: int, condition: float) -> tuple[Tensor, Tensor]:
    """Matrices with eigenvalues from 1 to the condition number, and where the tops are."""
    turns = torch.linalg.qr(torch.randn(count, size, size, dtype=torch.float64))[0]
    values = torch.logspace(0, math.log10(condition), size, dtype=torch.float64)
    return turns * values @ turns.mT, torch.randn(count, size, dtype=torch.float64)


def parabola(x: Tensor, matrix: Tensor, top: Tensor) -> Tensor:
    return -torch.einsum("bi,bij,bj->b", x - top, matrix, x - top) / 2


def small_network(x: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    first = torch.randn(20, 16, dtype=torch.float64, generator=draw) / 4
    second = torch.randn(16, 4, dtype=torch.float64, generator=draw)
    return -F.cross_entropy(torch.tanh((clean + x) @ first) @ second, labels, reduction="none") - x.square().sum(1) / 10


def rosenbrock(x: Tensor, top: Tensor) -> Tensor:
    x = x - top + 1
    return -(100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)


def scipy_values(loss: Landscape, row: int, size: int, limit: float) -> list[float]:
    """Everything that SciPy's L-BFGS-B sees on the way to the optimum of one image."""
    alone, seen = loss.select(torch.tensor([row])), []

    def look(u: Any) -> tuple[float, Any]:
        x = torch.tensor(u)[None].requires_grad_()
        value = alone(x, x)[0]
        seen.append(value.item())
        return -value.item(), -torch.autograd.grad(value.sum(), x)[0][0].numpy()

    options = {"maxcor": 10, "ftol": 0, "gtol": 1e-12, "maxiter": 5000, "maxfun": 5000}
    start = torch.zeros(size, dtype=torch.float64).numpy()
    minimize(look, start, jac=True, method="L-BFGS-B", bounds=[(-limit, limit)] * size, options=options)
    return seen


def calls_until(values: list[float], goal: float) -> int:
    return next(number for number, value in enumerate(values, 1) if value >= goal)


@pytest.mark.parametrize("limit", [0.5, 1.0, 20.0])
@pytest.mark.parametrize(
    ("size", "make"),
    [
        (10, lambda: Landscape(parabola, *quadratics(4, 10, 1e2))),
        (40, lambda: Landscape(parabola, *quadratics(4, 40, 1e3))),
        (20, lambda: Landscape(small_network, torch.rand(4, 20, dtype=torch.float64), torch.arange(4))),
    ],
)
def test_optima_and_calls_are_those_of_scipy(limit: float, size: int, make: Callable[[], Landscape]) -> None:
    loss = make()
    best = ProjectedLBFGS(400)(box(4, size, limit), loss)
    mine = torch.stack(loss.values)
    spent = 0
    for row in range(4):
        reference = scipy_values(loss, row, size, limit)
        top = max(reference)
        assert math.isclose(best.loss[row].item(), top, rel_tol=1e-10, abs_tol=1e-9), row
        near = top - 1e-6 * max(1, abs(top))
        spent += calls_until(mine[:, row].tolist(), near) - calls_until(reference, near)

    assert spent <= 0.15 * len(mine) + 20  # over four images: about as many calls as SciPy, here and there fewer


def test_curved_valleys_are_followed_to_their_end() -> None:
    top = torch.tensor([[0.0], [0.5], [1.0], [1.3]], dtype=torch.float64).expand(4, 6)
    loss = Landscape(rosenbrock, top)
    best = ProjectedLBFGS(120)(box(4, 6, 3.0), loss)

    assert_close(best.offsets, top, atol=1e-8, rtol=0)


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_in_a_euclidean_ball_the_optimum_is_that_of_the_multiplier(radius: float) -> None:
    matrix, top = quadratics(3, 12, 1e2)
    bounds = (-100.0, 100.0)
    region = PixelBall("l2", radius, bounds=bounds).at(torch.zeros(3, 12, dtype=torch.float64))
    best = ProjectedLBFGS(800)(region, Landscape(parabola, matrix, top))

    assert region.box() is None
    for row in range(3):  # (A + λ) u = A c with the λ of norm r, by bisection
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            u = torch.linalg.solve(matrix[row] + middle * torch.eye(12, dtype=torch.float64), matrix[row] @ top[row])
            low, high = (middle, high) if u.norm() > radius else (low, middle)
        assert_close(best.offsets[row], u, atol=1e-5, rtol=0)


def test_linear_losses_reach_their_corner_though_nothing_bends() -> None:
    weights = torch.tensor([[1.0, 1e-3, -1e-6, 0.0]], dtype=torch.float64)
    best = ProjectedLBFGS(30)(box(1, 4, 10.0), Landscape(lambda x, w: (x * w).sum(1), weights))

    assert_close(best.offsets, 10 * weights.sign())


def test_an_image_alone_goes_the_way_it_goes_in_a_batch() -> None:
    matrix, top = quadratics(5, 8, 1e3)
    scale = torch.tensor([1.0, 10.0, 0.01, 0.0, 3.0], dtype=torch.float64)  # one is flat, and at rest at once
    loss = Landscape(parabola, matrix * scale[:, None, None], top)
    region = box(5, 8, 0.8)
    together = ProjectedLBFGS(60, memory=4)(region, loss)
    for row in range(5):
        rows = torch.tensor([row])
        alone = ProjectedLBFGS(60, memory=4)(region.select(rows), loss.select(rows))
        assert_close(alone.offsets[0], together.offsets[row], atol=1e-9, rtol=0)
        assert_close(alone.loss[0], together.loss[row])


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_point_tried_is_inside(norm: Any, dtype: torch.dtype) -> None:
    radius = torch.tensor([0.3, 0.0, 1.5], dtype=dtype)
    region = PixelBall(norm, radius, bounds=(-0.4, 1.0)).at(torch.zeros(3, 6, dtype=dtype))
    loss = Landscape(rosenbrock, torch.ones(3, 6, dtype=dtype))
    best = ProjectedLBFGS(40, restarts=2, starts="uniform")(region, loss, generator=torch.Generator().manual_seed(0))

    tolerance = 4 * torch.finfo(dtype).eps
    for point in loss.points:
        assert (region.ball.norm(point) <= radius * (1 + tolerance)).all()
        assert ((point >= -0.4) & (point <= 1)).all()
    assert_close(best.loss, torch.stack(loss.values).amax(0))


@pytest.mark.parametrize("limit", [0.5, math.inf])
def test_flat_losses_cost_a_few_calls_and_no_nan(limit: float) -> None:
    region = PixelBall("linf", limit).at(torch.full((3, 4), 0.5))
    best = ProjectedLBFGS(200)(region, Landscape(lambda x: 0 * x.sum(1)))

    assert (best.calls == 5).all()  # rest is noticed at the next look, every fifth step
    assert best.finite.all()
    assert (best.offsets == 0).all()


def test_gradients_whose_squares_underflow_are_followed() -> None:
    region = PixelBall("linf", 0.1).at(torch.full((1, 3), 0.5))
    best = ProjectedLBFGS(10)(region, Landscape(lambda x: 1e-25 * (x.sum(1) - x.square().sum(1) / 4)))

    assert_close(best.offsets, torch.full((1, 3), 0.1))


def test_a_start_at_the_top_stays_there() -> None:
    top = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    loss = Landscape(parabola, torch.eye(2, dtype=torch.float64)[None], top)
    best = ProjectedLBFGS(100)(box(1, 2, 1.0), loss, start=top)

    assert_close(best.offsets, top)
    assert best.calls <= 30
    assert torch.stack(loss.points).isfinite().all()


def test_images_that_are_reached_or_at_rest_leave() -> None:
    matrix = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    top = torch.tensor([[0.5, 0.5], [0.9, 0.9], [0.0, 0.0]], dtype=torch.float64)
    tall = Landscape(lambda x, a, c, top: parabola(x, a, c) + top, matrix, top, torch.tensor([1.0, 0.0, 0.0]))
    tall.level = 0.9
    best = ProjectedLBFGS(60, stop_on_success=True)(box(3, 2, 1.0), tall)

    assert best.success.tolist() == [True, False, False]
    assert best.calls[0] == best.calls[2] == 5
    assert_close(best.offsets[1:], top[1:], atol=1e-7, rtol=0)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3])
def test_images_that_hardly_rise_any_more_are_at_rest(tolerance: float) -> None:
    loss = Landscape(parabola, *quadratics(4, 30, 1e3))
    region = box(4, 30, 1.0)
    eager, patient = (
        ProjectedLBFGS(300, tolerance=each, stop_on_success=True)(region, loss) for each in (tolerance, 0.0)
    )

    assert (eager.calls < 0.7 * patient.calls).all()
    assert (eager.loss > patient.loss - 20 * tolerance * patient.loss.abs()).all()
    assert (eager.loss < patient.loss).all()


def test_losses_that_bend_upward_are_climbed_about_as_far_as_by_apgd() -> None:
    draw = torch.Generator().manual_seed(3)
    first, second = (torch.randn(size, dtype=torch.float64, generator=draw) for size in ((20, 16), (16, 4)))
    clean = torch.rand(30, 20, dtype=torch.float64, generator=draw)
    labels = ((clean @ first).relu() @ second).argmax(1)

    def attacked(x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy((x @ first).relu() @ second, labels, reduction="none")

    region = PixelBall("linf", 0.1).at(clean)
    mine, other = (
        ascent(region, Landscape(attacked, labels)) for ascent in (ProjectedLBFGS(20), APGD(20, starts="zero"))
    )

    assert mine.loss.mean() >= 0.99 * other.loss.mean()  # each ends on hills of its own


@pytest.mark.parametrize("pairs", [2, 4, 9])
def test_newton_steps_are_those_of_the_bfgs_matrix_written_out(pairs: int) -> None:
    count, size, memory = 3, 6, 4
    curvature = Curvature(torch.zeros(count, size, dtype=torch.float64), memory)
    free = torch.rand(count, size) > 0.3
    matrix, _ = quadratics(count, size, 30.0)
    known: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(count)]
    for _ in range(pairs):
        move = torch.randn(count, size, dtype=torch.float64)
        change = torch.einsum("bij,bj->bi", matrix, move) * torch.tensor([[1.0], [1.0], [-1.0]])[torch.randperm(count)]
        offered = torch.rand(count) > 0.2
        taken = curvature.remember(move, change, offered)
        assert torch.equal(taken, offered & ((move * change).sum(1) > 0))
        for row in taken.nonzero()[:, 0].tolist():
            known[row].append((move[row], change[row]))
    gradient = torch.randn(count, size, dtype=torch.float64)
    step, curved = curvature.newton(gradient, free)

    for row in range(count):
        mask = free[row]
        inside = [(s[mask], y[mask]) for s, y in known[row][-memory:]]
        inside = [(s, y) for s, y in inside if s @ y > 0]
        assert bool(curved[row]) == bool(inside)
        assert (step[row][~mask] == 0).all()
        if inside:
            s, y = inside[-1]
            eye = torch.eye(int(mask.sum()), dtype=torch.float64)
            inverse = (s @ y) / (y @ y) * eye
            for s, y in inside:
                turn = eye - torch.outer(s, y) / (s @ y)
                inverse = turn @ inverse @ turn.T + torch.outer(s, s) / (s @ y)
            assert_close(step[row][mask], inverse @ gradient[row][mask])


def test_curvature_is_kept_and_forgotten_by_image() -> None:
    curvature, rows = Curvature(torch.zeros(4, 3, dtype=torch.float64), 2), torch.tensor([3, 1])
    every, free = torch.ones(4, dtype=torch.bool), torch.ones(4, 3, dtype=torch.bool)
    for _ in range(3):
        move = torch.randn(4, 3, dtype=torch.float64)
        curvature.remember(move, 2 * move + 0.1 * move.roll(1, 1), every)
    gradient = torch.randn(4, 3, dtype=torch.float64)
    whole, _ = curvature.newton(gradient, free)
    curvature.select(rows)
    kept, _ = curvature.newton(gradient[rows], free[rows])
    curvature.forget(torch.tensor([True, False]))

    assert_close(kept, whole[rows])
    assert curvature.newton(gradient[rows], free[rows])[1].tolist() == [False, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"memory": 0}, "memory must be at least 1"),
        ({"backtracks": 0}, "backtracks must be at least 1"),
        ({"tolerance": -1.0}, "tolerance must be 0 or more"),
        ({"restarts": 2}, "starts must be random"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectedLBFGS(**settings)
