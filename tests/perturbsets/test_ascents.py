"""Ascents in a plane of one's own, where the right answer is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from perturbsets import (
    APGD,
    Ascent,
    Best,
    GradientAscent,
    Loss,
    OneStep,
    ProjectedAdam,
    ProjectedGradient,
    RandomSearch,
    Square,
)
from perturbsets import Region as AnyRegion
from perturbsets.ascents.apgd import checkpoints
from perturbsets.ascents.base import replace_few_, replace_unasked_
from perturbsets.ascents.projected_gradient import AdamClimb, Climb, Schedule, SteepestClimb, shares
from perturbsets.objectives.base import ByValue
from perturbsets.rows import check_choice
from perturbsets.sets import Ball, L2Ball, LinfBall
from perturbsets.sets.base import Starts
from tests.perturbsets.every_ascent import ASCENTS

EVERY = [ascent for ascent in ASCENTS if not isinstance(ascent, Square)]  # which wants images


class Region(AnyRegion):
    """Offsets are the samples themselves: the least a region has to have."""

    def __init__(self, count: int, size: int, ball: Ball) -> None:
        self.images, self.ball = torch.zeros(count, size, dtype=torch.float64), ball

    @property
    def size(self) -> int:
        return self.images.shape[1]

    def decode(self, offsets: Tensor) -> Tensor:
        return self.images + offsets

    def select(self, rows: Tensor) -> Region:
        return Region(len(rows), self.size, self.ball.select(rows))


class Linear(Loss):
    """<w, x>; the goal is reached above a level per image. Counts the images it is asked about."""

    def __init__(self, weights: Tensor, levels: Tensor | None = None, counter: list[int] | None = None) -> None:
        self.weights, self.counter = weights, [] if counter is None else counter
        self.levels = torch.full((len(weights),), math.inf) if levels is None else levels

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        self.counter.append(len(images))
        value = (images * self.weights).sum(1)
        return value, value.detach() > self.levels

    def select(self, rows: Tensor) -> Linear:
        return Linear(self.weights[rows], self.levels[rows], self.counter)


class Quadratic(Loss):
    """-|x - c|²."""

    def __init__(self, centre: Tensor) -> None:
        self.centre = centre

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = -(images - self.centre).square().sum(1)
        return value, torch.zeros(len(value), dtype=torch.bool)

    def select(self, rows: Tensor) -> Quadratic:
        return Quadratic(self.centre[rows])


class Waves(Loss):
    """A hilly loss, the same for every image; takes down every value."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = (9 * images).sin().sum(1) + images.sum(1)
        self.seen.append(value.detach())
        return value, torch.zeros(len(value), dtype=torch.bool)

    def select(self, rows: Tensor) -> Waves:
        return self


@pytest.mark.parametrize("kind", [L2Ball, LinfBall])
@pytest.mark.parametrize("radius", [0.5, torch.tensor([0.1, 2.0, 0.0, 1.0], dtype=torch.float64)])
@pytest.mark.parametrize("ascent", [OneStep(), ProjectedGradient(40, starts="zero")])
def test_linear_losses_rise_by_radius_times_dual_norm(kind: type[Ball], radius: Any, ascent: Ascent) -> None:
    weights = torch.randn(4, 6, dtype=torch.float64)
    ball = kind(radius)
    best = ascent(Region(4, 6, ball), Linear(weights))

    dual = weights.norm(dim=1) if kind is L2Ball else weights.abs().sum(1)  # Hölder
    assert_close(best.loss, torch.as_tensor(radius, dtype=torch.float64) * dual)
    assert_close(best.offsets, torch.as_tensor(radius, dtype=torch.float64).expand(4)[:, None] * ball.steepest(weights))


@pytest.mark.parametrize("ascent", EVERY)
def test_the_best_point_seen_is_returned_and_consistent(ascent: Ascent, generator: torch.Generator) -> None:
    loss = Waves()
    region = Region(5, 3, LinfBall(1.0))
    best = ascent(region, loss, generator=generator)

    assert_close(best.loss, torch.stack(loss.seen).amax(0))
    assert_close(best.images, region.decode(best.offsets))
    assert_close(loss(best.images, best.offsets)[0], best.loss)
    assert (best.calls == len(loss.seen) - 1).all()
    assert (region.ball.norm(best.offsets) <= 1 + 1e-12).all()
    assert not best.loss.requires_grad
    assert not best.images.requires_grad


@pytest.mark.parametrize("ascent", EVERY)
def test_the_given_start_is_used_and_projected(ascent: Ascent, generator: torch.Generator) -> None:
    start = torch.full((2, 3), 5.0, dtype=torch.float64)
    loss = Linear(torch.ones(2, 3, dtype=torch.float64))
    best = ascent(Region(2, 3, LinfBall(1.0)), loss, start=start, generator=generator)

    # The corner nearest to the start is the best point of the cube, so nothing later can beat it.
    assert_close(best.offsets, torch.ones(2, 3, dtype=torch.float64))


def test_restarts_keep_the_worst_of_all_per_image() -> None:
    region = Region(6, 2, LinfBall(2.0))
    settings: dict[str, Any] = {"steps": 6, "step_size": 0.05}
    draw = torch.Generator().manual_seed(3)
    single = torch.stack([ProjectedGradient(**settings)(region, Waves(), generator=draw).loss for _ in range(4)])
    together = ProjectedGradient(**settings, restarts=4)(region, Waves(), generator=torch.Generator().manual_seed(3))

    assert_close(together.loss, single.amax(0))
    assert len(set(single.argmax(0).tolist())) > 1
    assert (together.calls == 4 * 7).all()


def test_gradient_ascent_on_a_parabola_follows_its_closed_form() -> None:
    centre = torch.randn(3, 4, dtype=torch.float64)
    eta, steps = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64), 7
    best = GradientAscent(step_size=eta, steps=steps)(Region(3, 4, L2Ball(math.inf)), Quadratic(centre))

    # u' = u + 2 eta (c - u) shrinks the way by 1 - 2 eta a step.
    assert_close(best.offsets, (1 - (1 - 2 * eta[:, None]) ** steps) * centre)


@pytest.mark.parametrize(
    ("momentum", "schedule"), [(0.0, "constant"), (0.9, "constant"), (1.0, "cosine"), (0.0, "cosine"), (0.5, "linear")]
)
def test_projected_gradient_agrees_with_a_plain_loop(momentum: float, schedule: Any) -> None:
    steps, size = 9, 0.07
    region = Region(4, 3, L2Ball(0.6))
    best = ProjectedGradient(steps, step_size=size, starts="zero", momentum=momentum, schedule=schedule)(
        region, Waves()
    )
    u = torch.zeros(4, 3, dtype=torch.float64)
    velocity, values = torch.zeros_like(u), []
    for step in range(steps + 1):
        values.append((9 * u).sin().sum(1) + u.sum(1))
        gradient = 9 * (9 * u).cos() + 1
        velocity = momentum * velocity + gradient / gradient.abs().mean(1, keepdim=True)
        shrunk = {"constant": 1, "linear": 1 - step / steps, "cosine": math.cos(math.pi * step / steps / 2) ** 2}[
            schedule
        ]
        u = u + shrunk * size * velocity / velocity.norm(dim=1, keepdim=True)
        u = u * (0.6 / u.norm(dim=1, keepdim=True)).clamp(max=1)

    assert_close(best.loss, torch.stack(values).amax(0))


@pytest.mark.parametrize("kind", [OneStep, ProjectedGradient])
@pytest.mark.parametrize("starts", ["zero", "uniform", "sample"])
def test_searches_begin_where_they_are_told(kind: Any, starts: Any) -> None:
    class Sampled(Region):
        def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
            return torch.full_like(self.centre(), 0.3)

    class First(Linear):
        def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(offsets.detach())
            return super().__call__(images, offsets)

    seen: list[Tensor] = []
    region, draw = Sampled(3, 2, LinfBall(1.0)), torch.Generator().manual_seed(2)
    uniform = region.random_start(generator=torch.Generator().manual_seed(2))
    kind(starts=starts)(region, First(torch.ones(3, 2, dtype=torch.float64)), generator=draw)

    wanted = {"zero": region.centre(), "uniform": uniform, "sample": torch.full_like(uniform, 0.3)}[starts]
    assert_close(seen[0], wanted)


def test_schedules_follow_their_formulas() -> None:
    assert shares("constant", 4) == [1, 1, 1, 1]
    assert shares("linear", 4) == [1, 0.75, 0.5, 0.25]
    assert shares("cosine", 4) == pytest.approx([1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4])


def test_steps_of_a_linear_schedule_add_up_to_half_their_number_and_a_half() -> None:
    best = ProjectedGradient(9, step_size=0.1, starts="zero", schedule="linear")(
        Region(1, 2, LinfBall(1.0)), Linear(torch.ones(1, 2))
    )

    assert_close(best.offsets, torch.full((1, 2), 0.1 * (9 + 1) / 2, dtype=torch.float64))


def test_steps_differ_per_image() -> None:
    size = torch.tensor([0.01, 0.02, 0.5], dtype=torch.float64)
    weights = torch.ones(3, 2, dtype=torch.float64)
    best = ProjectedGradient(4, step_size=size, starts="zero")(Region(3, 2, LinfBall(1.0)), Linear(weights))

    assert_close(best.offsets, (4 * size).clamp(max=1)[:, None].expand(3, 2))


def test_images_that_are_reached_cost_no_more_calls() -> None:
    weights = torch.ones(3, 2, dtype=torch.float64)
    levels = torch.tensor([0.15, 0.85, math.inf], dtype=torch.float64)
    settings: dict[str, Any] = {"steps": 20, "step_size": 0.05, "starts": "zero"}
    stopping, whole = Linear(weights, levels), Linear(weights, levels)
    region = Region(3, 2, LinfBall(1.0))
    stopped = ProjectedGradient(**settings, stop_on_success=True)(region, stopping)
    full = ProjectedGradient(**settings)(region, whole)

    # 0.1 a step: reached at steps 2 and 9, which is noticed at every fifth step.
    assert stopped.calls.tolist() == [5, 10, 21]
    assert sum(stopping.counter) == int(stopped.calls.sum())
    assert sum(whole.counter) == 3 * 21
    assert stopped.success.tolist() == full.success.tolist() == [True, True, False]
    assert_close(stopped.offsets[2], full.offsets[2], rtol=0, atol=0)
    assert (stopped.loss[:2] > levels[:2]).all()


def test_images_reached_in_one_restart_leave_the_next() -> None:
    weights, levels = torch.ones(2, 2, dtype=torch.float64), torch.tensor([0.5, math.inf], dtype=torch.float64)
    ascent = ProjectedGradient(10, restarts=3, stop_on_success=True)
    best = ascent(Region(2, 2, LinfBall(1.0)), Linear(weights, levels), generator=torch.Generator().manual_seed(0))

    assert best.calls[0] <= 11
    assert best.calls[1] == 33


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("success_first", [True, False])
def test_the_best_is_that_of_a_loop_over_images(some: bool, success_first: bool, generator: torch.Generator) -> None:
    best = Best(Region(6, 2, L2Ball(1.0)), Waves() if success_first else ByValue(Waves()))
    kept = [(False, -math.inf, [0.0, 0.0], True, 0) for _ in range(6)]
    choices = torch.tensor([0.0, 1.0, 2.0, math.nan, math.inf, -math.inf], dtype=torch.float64)
    for _ in range(40):
        rows = torch.randperm(6, generator=generator)[:4] if some else torch.arange(6)
        values = choices[torch.randint(6, (len(rows),), generator=generator)]
        success = torch.rand(len(rows), generator=generator) < 0.2
        offsets = torch.rand(len(rows), 2, dtype=torch.float64, generator=generator)
        best.update(offsets, 2 * offsets, values, success, rows if some else None)
        for row, value, goal, place in zip(
            rows.tolist(), values.tolist(), success.tolist(), offsets.tolist(), strict=True
        ):
            held, top, where, finite, calls = kept[row]
            if math.isfinite(value) and (success_first * goal, value) > (success_first * held, top):
                held, top, where = goal, value, place
            kept[row] = (held, top, where, finite and math.isfinite(value), calls + 1)
        flags, tops, places, finites, calls = (list(column) for column in zip(*kept, strict=True))
        assert best.success.tolist() == flags
        assert best.loss.tolist() == tops
        assert best.offsets.tolist() == places
        assert (best.images == 2 * best.offsets).all()
        assert best.finite.tolist() == finites
        assert best.calls.tolist() == calls


@pytest.mark.parametrize("replace_", [replace_few_, replace_unasked_])
@pytest.mark.parametrize("channels_last", [False, True])
def test_only_what_is_better_replaces_what_was_kept(
    replace_: Any, channels_last: bool, generator: torch.Generator
) -> None:
    kept, seen = torch.rand(6, 2, 3, 3, generator=generator), torch.rand(4, 2, 3, 3, generator=generator)
    seen[1] = math.nan
    before, rows = kept.clone(), torch.tensor([5, 0, 3, 2])
    if channels_last:
        kept = kept.to(memory_format=torch.channels_last)

    replace_(kept, seen, torch.tensor([True, False, False, True]), rows)

    assert_close(kept, torch.stack([*before[:2], seen[3], *before[3:5], seen[0]]), rtol=0, atol=0)


def test_nothing_found_before_is_written_to_by_a_later_look() -> None:
    region, values = Region(3, 2, L2Ball(1.0)), torch.ones(3, dtype=torch.float64)
    best, offsets = Best(region, Waves()), torch.ones(3, 2, dtype=torch.float64)
    best.update(offsets, offsets, values, values > 2)

    best.update(2 * offsets, 2 * offsets, 2 * values, values > 2)

    assert (offsets == 1).all()
    assert (region.images == 0).all()
    assert (best.images == 2).all()


def test_reaching_the_goal_counts_more_than_a_high_value() -> None:
    class Trap(Loss):
        """Reached on the left half only, though the value is higher to the right."""

        def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
            return images[:, 0], images.detach()[:, 0] < 0

        def select(self, rows: Tensor) -> Trap:
            return self

    start = torch.tensor([[-0.3]], dtype=torch.float64)
    best = ProjectedGradient(10, step_size=0.1)(Region(1, 1, LinfBall(1.0)), Trap(), start=start)

    assert best.success.item()
    assert -0.11 < best.offsets.item() < 0


def test_random_search_is_the_worst_of_its_draws() -> None:
    region = Region(5, 3, L2Ball(1.0))
    best = RandomSearch(7)(region, Waves(), generator=torch.Generator().manual_seed(5))
    draw = torch.Generator().manual_seed(5)
    values = torch.stack([Waves()(u, u)[0] for u in (region.sample(generator=draw) for _ in range(7))])

    assert_close(best.loss, values.amax(0))
    assert (best.calls == 7).all()


@pytest.mark.parametrize("ascent", EVERY)
@pytest.mark.parametrize("kind", [L2Ball, LinfBall])
def test_the_same_generator_gives_the_same_points(ascent: Ascent, kind: type[Ball]) -> None:
    region = Region(4, 3, kind(1.0))
    if ascent.misfit(region) is not None:
        pytest.skip("does not fit")
    first, second = (ascent(region, Waves(), generator=torch.Generator().manual_seed(9)) for _ in range(2))

    assert torch.equal(first.offsets, second.offsets)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ProjectedGradient, {"steps": 0}, "steps must be at least 1"),
        (ProjectedGradient, {"step_size": 0.0}, "step_size must be above 0"),
        (ProjectedGradient, {"step_size": math.nan}, "step_size must be above 0"),
        (ProjectedGradient, {"restarts": 0}, "restarts must be at least 1"),
        (ProjectedGradient, {"restarts": 2, "starts": "zero"}, "starts must be random"),
        (ProjectedGradient, {"momentum": -0.1}, "momentum must be 0 or more"),
        (ProjectedGradient, {"momentum": math.nan}, "momentum must be 0 or more"),
        (GradientAscent, {"step_size": -1.0}, "step_size must be above 0"),
        (GradientAscent, {"step_size": 1.0, "steps": 0}, "steps must be at least 1"),
        (ProjectedAdam, {"steps": 0}, "steps must be at least 1"),
        (ProjectedAdam, {"restarts": 2, "starts": "zero"}, "starts must be random"),
        (ProjectedAdam, {"betas": (0.9, 1.0)}, "betas must be two numbers"),
        (APGD, {"steps": 0}, "steps must be at least 1"),
        (APGD, {"step_weight": 0.0}, "step_weight must be in"),
        (APGD, {"rho": 1.5}, "rho must be a share"),
        (OneStep, {"step_size": -0.1}, "step_size must be above 0"),
        (RandomSearch, {"draws": 0}, "draws must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(kind: type[Ascent], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_projected_adam_takes_the_steps_of_torch() -> None:
    centre = torch.randn(3, 4, dtype=torch.float64)
    best = ProjectedAdam(12, step_size=0.05, betas=(0.8, 0.95), starts="zero")(
        Region(3, 4, L2Ball(math.inf)), Quadratic(centre)
    )
    u = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([u], lr=0.05, betas=(0.8, 0.95), eps=1e-150, maximize=True)
    seen = []
    for _ in range(13):
        optimizer.zero_grad()
        value = -(u - centre).square().sum(1)
        seen.append(value.detach().clone())
        value.sum().backward()
        optimizer.step()

    assert_close(best.loss, torch.stack(seen).amax(0))


def test_projected_adam_stays_inside_and_beats_plain_gradient_on_uneven_scales() -> None:
    scales = torch.tensor([1.0, 1e-3], dtype=torch.float64)

    class Uneven(Waves):
        def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
            return (images * scales).sum(1), torch.zeros(len(images), dtype=torch.bool)

    region = Region(5, 2, LinfBall(0.5))
    adam = ProjectedAdam(30, starts="zero")(region, Uneven())
    plain = GradientAscent(step_size=1.0, steps=30)(region, Uneven())

    assert (adam.offsets.abs() <= 0.5).all()
    assert_close(adam.offsets, torch.full((5, 2), 0.5, dtype=torch.float64))
    assert (plain.offsets[:, 1] < 0.1).all()


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [0, 1]


class Ridge(Loss):
    """A narrow ridge along the diagonal, which steps of one size climb badly."""

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        along, across = images.sum(1), images[:, 0] - images[:, 1] - 0.05 * images[:, 2]
        return along - 40 * across.square() + 0.1 * (30 * along).sin(), torch.zeros(len(images), dtype=torch.bool)

    def select(self, rows: Tensor) -> Ridge:
        return self


@pytest.mark.parametrize("kind", [L2Ball, LinfBall])
@pytest.mark.parametrize("steps", [5, 40])
def test_apgd_agrees_with_the_algorithm_of_the_paper_written_out(kind: Any, steps: int) -> None:
    radius = torch.tensor([0.3, 0.7, 1.5, 0.3], dtype=torch.float64)
    start = 0.1 * torch.randn(4, 3, dtype=torch.float64)
    best = APGD(steps)(Region(4, 3, kind(radius)), Ridge(), start=start)
    marks = checkpoints(steps)
    for row in range(4):
        ball = kind(radius[row].item())

        def look(u: Tensor) -> tuple[float, Tensor]:
            at = u.clone().requires_grad_()
            value = Ridge()(at, at)[0]
            return value.item(), torch.autograd.grad(value.sum(), at)[0]

        eta = 2 * radius[row].item()
        points = [ball.project(start[row : row + 1])]
        values = [look(points[0])[0]]
        points.append(ball.project(points[0] + eta * ball.steepest(look(points[0])[1])))
        values.append(look(points[1])[0])
        top = max(range(2), key=lambda k: values[k])
        top_point, top_value = points[top], values[top]
        judged, halved, seen = values[0], True, [values[0], values[1]]
        for k in range(1, steps + 1):
            if k in marks:
                former = max(mark for mark in marks if mark < k)
                rose = sum(seen[i + 1] > before for i, before in enumerate(values[former:k], former))
                again = (not halved and top_value == judged) or rose < 0.75 * (k - former)
                judged, halved = top_value, again
                if again:
                    eta /= 2
                    points[k], values[k] = top_point, top_value
            if k == steps:
                break
            z = ball.project(points[k] + eta * ball.steepest(look(points[k])[1]))
            following = ball.project(points[k] + 0.75 * (z - points[k]) + 0.25 * (points[k] - points[k - 1]))
            points.append(following)
            values.append(look(following)[0])
            seen.append(values[-1])
            if values[-1] > top_value:
                top_point, top_value = following, values[-1]
        assert math.isclose(best.loss[row].item(), top_value, rel_tol=1e-9), row


def test_apgd_beats_steps_of_one_size_on_a_ridge() -> None:
    region, start = Region(20, 3, LinfBall(1.0)), 0.5 * torch.randn(20, 3, dtype=torch.float64)
    apgd = APGD(40)(region, Ridge(), start=start)
    plain = ProjectedGradient(40)(region, Ridge(), start=start)

    assert (apgd.calls == 41).all()
    assert apgd.loss.mean() > plain.loss.mean()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(SteepestClimb, {"momentum": 0.9}), (AdamClimb, {"betas": (0.9, 0.99)}), (Climb, {})],
)
def test_climbs_remember_what_belongs_to_the_rows(kind: type[Climb], settings: dict[str, Any]) -> None:
    region, rows = Region(4, 3, L2Ball(1.0)), torch.tensor([3, 1])
    gradients = torch.randn(3, 4, 3, dtype=torch.float64)
    some, all_ = (kind(region, Waves(), region.centre(), Best(region, Waves()), 0.1, **settings) for _ in range(2))
    for gradient in gradients[:2]:
        some.direction(gradient)
        all_.direction(gradient)
    some.select(rows)

    assert_close(some.direction(gradients[2][rows]), all_.direction(gradients[2])[rows])


def test_unknown_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="starts must be one of"):
        check_choice("starts", "bank", Starts)


def test_unknown_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule must be one of"):
        check_choice("schedule", "exponential", Schedule)


@pytest.mark.parametrize(
    "ascent", [OneStep(), ProjectedGradient(2, starts="zero"), ProjectedAdam(2, starts="zero"), APGD(2, starts="zero")]
)
def test_an_infinite_radius_needs_a_step_size(ascent: Ascent) -> None:
    with pytest.raises(ValueError, match="step_size must be given where the radius is infinite"):
        ascent(Region(1, 2, L2Ball(math.inf)), Linear(torch.ones(1, 2, dtype=torch.float64)))
