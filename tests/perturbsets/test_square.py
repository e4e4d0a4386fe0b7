"""The Square attack: its moves against their formulas, its results against what can be known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import Adversary, Loss, Margin, PixelBall, RandomSearch, SpatialBox, Square
from perturbsets.ascents.square import BallMoves, CubeMoves, bumps, places, read, window_size, write

SHAPES = [(2, 1, 6, 6), (2, 3, 5, 8), (2, 3, 9, 4), (2, 1, 1, 12), (2, 3, 7, 1), (1, 1, 1, 1)]


class Linear(Loss):
    """<w, u>; the goal is reached above a level per image. Takes down offsets, values, and how many images it saw."""

    def __init__(self, weights: Tensor, levels: Tensor | None = None, seen: list[Any] | None = None) -> None:
        self.weights, self.seen = weights, [] if seen is None else seen
        self.levels = torch.full((len(weights),), math.inf) if levels is None else levels

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = (offsets * self.weights).sum(1)
        self.seen.append((offsets, value))
        return value, value > self.levels

    def select(self, rows: Tensor) -> Linear:
        return Linear(self.weights[rows], self.levels[rows], self.seen)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_point_is_inside_and_the_best_of_them_is_kept(norm: Any, shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    radius = torch.tensor([0.1, 0.7])[: len(images)]
    region = PixelBall(norm, radius).at(images)
    loss = Linear(torch.randn(len(images), region.size))
    best = Square(60)(region, loss, generator=draw())

    for offsets, _ in loss.seen:
        assert (region.ball.norm(offsets) <= radius * (1 + 1e-6)).all()
        assert ((offsets >= region.low) & (offsets <= region.high)).all()
    assert_close(best.loss, torch.stack([value for _, value in loss.seen]).amax(0))
    assert_close(best.images, region.decode(best.offsets))
    assert (best.calls == 60).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_linear_losses_in_the_cube_reach_their_corner(channels: int) -> None:
    region = PixelBall("linf", torch.tensor([0.1, 0.3])).at(torch.rand(2, channels, 5, 6))
    weights = torch.randn(2, region.size)
    best = Square(2500)(region, Linear(weights), generator=draw())

    assert_close(best.offsets, torch.where(weights > 0, region.high, region.low))


def test_linear_losses_in_the_ball_rise_towards_radius_times_norm() -> None:
    radius = torch.tensor([0.2, 1.0])
    region = PixelBall("l2", radius, bounds=(-5.0, 5.0)).at(torch.zeros(2, 1, 5, 5))
    down, across = torch.linspace(-1, 1, 5)[:, None], torch.linspace(1, 2, 5)
    weights = (down * across).flatten().expand(2, -1)
    best = Square(1500)(region, Linear(weights), generator=draw())

    # Bumps of 3 x 3 pixels and more cannot take on every shape.
    assert (best.loss >= 0.7 * radius * weights.norm(dim=1)).all()
    assert_close(best.offsets.norm(dim=1), radius)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] * shape[3] > 1])
def test_the_first_point_in_the_ball_has_its_radius_and_in_the_cube_vertical_stripes(shape: tuple[int, ...]) -> None:
    images = torch.zeros(shape, dtype=torch.float64)
    ball, cube = (PixelBall(norm, 0.3, bounds=(-1.0, 1.0)).at(images) for norm in ("l2", "linf"))  # type: ignore[arg-type]
    round_, stripes = BallMoves(ball, draw()).first(), CubeMoves(cube, draw()).first()

    assert_close(round_.flatten(1).norm(dim=1), torch.full((shape[0],), 0.3, dtype=torch.float64))
    assert (stripes.abs() == 0.3).all()
    assert (stripes.view(shape) == stripes.view(shape)[:, :, :1]).all()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_moves_in_the_ball_keep_the_norm_and_touch_two_windows(share: float, shape: tuple[int, ...]) -> None:
    region = PixelBall("l2", 0.5, bounds=(-1.0, 1.0)).at(torch.zeros(shape, dtype=torch.float64))
    moves, every = BallMoves(region, draw(1)), torch.arange(shape[0])
    before = moves.first() * 0.9
    after = moves.following(before, share, every)
    height, width = moves._odd(window_size(share, shape[2], shape[3]))

    assert_close(after.flatten(1).norm(dim=1), torch.full((shape[0],), 0.5, dtype=torch.float64))
    assert ((after != before).sum(2) <= 2 * height * width).all()


def test_squares_move_whole_windows_and_never_nothing() -> None:
    region = PixelBall("linf", 0.5, bounds=(-1.0, 1.0)).at(torch.zeros(300, 2, 6, 7, dtype=torch.float64))
    moves = CubeMoves(region, draw())
    before = moves.first()[:1].expand(300, -1, -1).contiguous()
    after = moves.following(before, 9 / 42, torch.arange(300))
    changed = (after != before).view(300, 2, 6, 7)

    assert changed.flatten(1).any(1).all()
    assert (after.abs() == 0.5).all()
    assert (changed.any(1).any(2).sum(1) <= 3).all()
    assert (changed.any(1).any(1).sum(1) <= 3).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 5), (6, 6), (7, 4), (1, 5)])
def test_bumps_follow_the_formula_of_the_paper(size: tuple[int, int]) -> None:
    def hill(height: int, width: int) -> Tensor:
        values = torch.zeros(height, width, dtype=torch.float64)
        n = max(height, width) // 2
        for r in range(height):
            for s in range(width):
                levels = n - max(abs(r - height // 2), abs(s - width // 2))
                values[r, s] = sum(1 / (n + 1 - k) ** 2 for k in range(levels + 1))
        return values

    height, width = size
    above = torch.cat([hill(height // 2, width), -hill(height - height // 2, width)])
    beside = torch.cat([hill(height, width // 2), -hill(height, width - width // 2)], 1)

    assert_close(bumps(size), torch.stack([above / above.norm(), beside / beside.norm()]))


def test_windows_have_the_area_asked_for_where_the_image_has_room() -> None:
    assert window_size(0.25, 8, 8) == (4, 4)
    assert window_size(1.0, 8, 8) == (8, 8)
    assert window_size(1e-6, 8, 8) == (1, 1)
    assert window_size(0.5, 1, 12) == (1, 6)
    assert window_size(0.8, 20, 2) == (16, 2)


def test_windows_are_read_and_written_where_they_lie() -> None:
    pixels = torch.arange(2 * 2 * 12.0).view(2, 2, 12)
    where = places(torch.tensor([0, 1]), torch.tensor([2, 0]), (2, 2), 4)
    images = pixels.view(2, 2, 3, 4)

    assert_close(read(pixels, where)[0].view(2, 2, 2), images[0, :, 0:2, 2:4])
    assert_close(read(pixels, where)[1].view(2, 2, 2), images[1, :, 1:3, 0:2])
    written = write(pixels, where, torch.full((2, 2, 4), -1.0))
    assert ((written == -1).sum((1, 2)) == 8).all()
    assert_close(read(written, where), torch.full((2, 2, 4), -1.0))


def test_windows_shrink_on_the_published_schedule() -> None:
    published = Square(10_000, p_init=0.8)._shares()
    shorter = Square(1_000, p_init=0.8)._shares()

    assert [published[query] for query in (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001, 9999)] == [
        0.8 / 2**halvings for halvings in (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9)
    ]
    assert shorter == published[::10]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_same_generator_gives_the_same_points(norm: Any) -> None:
    region = PixelBall(norm, 0.2).at(torch.rand(3, 3, 6, 6))
    weights = torch.randn(3, region.size)
    first, second, other = (Square(30)(region, Linear(weights), generator=draw(seed)) for seed in (5, 5, 6))

    assert torch.equal(first.offsets, second.offsets)
    assert not torch.equal(first.offsets, other.offsets)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_images_that_are_reached_leave_at_once_and_the_others_lose_nothing(norm: Any) -> None:
    region = PixelBall(norm, 0.3).at(torch.rand(6, 1, 6, 6))
    weights = torch.randn(6, 36)
    whole = Square(80)(region, Linear(weights), generator=draw())
    levels = torch.stack([whole.loss * 0.6, whole.loss + 1], 1).flatten()[:6]
    loss = Linear(weights, levels)
    stopped = Square(80, stop_on_success=True)(region, loss, generator=draw())
    full = Linear(weights, levels)
    Square(80)(region, full, generator=draw())

    first = torch.stack([value for _, value in full.seen]) > levels
    for row in range(6):
        hits = first[:, row].nonzero()
        assert stopped.calls[row] == (int(hits[0]) + 1 if len(hits) else 80)
    assert sum(len(value) for _, value in loss.seen) == stopped.calls.sum()
    missed = ~stopped.success
    assert missed.any()
    assert_close(stopped.offsets[missed], whole.offsets[missed])


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_beats_draws_from_the_ball_at_equal_calls(norm: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(300, 16), nn.ReLU(), nn.Linear(16, 5))
    images = torch.rand(20, 3, 10, 10)
    labels = model(images).argmax(1)
    square, drawn = (
        Adversary(PixelBall(norm, 0.05 if norm == "linf" else 0.8), Margin(), ascent)(
            model, images, labels, generator=draw()
        )
        for ascent in (Square(120), RandomSearch(120))
    )

    assert (square.calls == drawn.calls).all()
    assert (square.loss > drawn.loss).sum() >= 16
    assert square.loss.mean() > drawn.loss.mean()


def test_a_given_start_is_tried_first() -> None:
    region = PixelBall("linf", 0.2).at(torch.full((2, 1, 4, 4), 0.5))
    loss = Linear(torch.ones(2, 16))
    best = Square(5)(region, loss, start=torch.ones(2, 16), generator=draw())

    assert_close(loss.seen[0][0], torch.full((2, 16), 0.2))
    assert_close(best.offsets, torch.full((2, 16), 0.2))


@pytest.mark.parametrize(
    ("perturbations", "shape", "message"),
    [
        (PixelBall("linf", 0.1), (2, 5), r"squares of pixels, got a PixelRegion of \[2, 5\]"),
        (SpatialBox(), (2, 1, 5, 5), "squares of pixels, got a SpatialRegion"),
        (PixelBall("l1", 0.1), (2, 1, 5, 5), "got a L1Ball: take APGD"),
        (PixelBall("l2", math.inf), (2, 1, 5, 5), "infinite radius"),
    ],
)
def test_sets_that_do_not_fit_are_refused(perturbations: Any, shape: tuple[int, ...], message: str) -> None:
    images, labels = torch.rand(shape), torch.zeros(shape[0], dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        Adversary(perturbations, ascent=Square(3))(nn.Flatten(), images, labels)
    assert Square().misfit(PixelBall("l2", 0.1).at(torch.rand(1, 1, 3, 3))) is None


def test_a_region_that_does_not_fit_is_refused_without_an_adversary_too() -> None:
    with pytest.raises(ValueError, match="region must fit Square: it changes squares of pixels"):
        Square(3)(SpatialBox().at(torch.rand(1, 1, 5, 5)), Linear(torch.ones(1, 4)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": 0}, "queries must be at least 1"),
        ({"p_init": 0.0}, "p_init must be in"),
        ({"p_init": 1.1}, "p_init must be in"),
        ({"p_init": math.nan}, "p_init must be in"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Square(**settings)
