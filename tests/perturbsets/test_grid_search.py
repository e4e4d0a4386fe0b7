"""Grid search, against every point written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import Adversary, GridSearch, Loss, Margin, PixelBall, Region, SpatialBox
from perturbsets.sets import L2Ball, LinfBall


class Hills(Loss):
    """A hilly function of the offsets; reached above a level per image. Takes down the offsets."""

    def __init__(self, phases: Tensor, levels: Tensor | None = None, seen: list[Tensor] | None = None) -> None:
        self.phases, self.seen = phases, [] if seen is None else seen
        self.levels = torch.full((len(phases),), math.inf) if levels is None else levels

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(offsets)
        value = (7 * offsets + self.phases).sin().sum(1)
        return value, value > self.levels

    def select(self, rows: Tensor) -> Hills:
        return Hills(self.phases[rows], self.levels[rows], self.seen)


class Level(Hills):
    """The same everywhere."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(2, 2))

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        return offsets.new_zeros(len(offsets)), torch.zeros(len(offsets), dtype=torch.bool)


class Line(Region):
    """Offsets in a ball, whatever they mean."""

    def __init__(self, size: int, ball: Any) -> None:
        self.images, self.ball, self._size = torch.zeros(2, 1), ball, size

    @property
    def size(self) -> int:
        return self._size

    def decode(self, offsets: Tensor) -> Tensor:
        return self.images

    def select(self, rows: Tensor) -> Line:
        return self


def written_out(numbers: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Every point of the grid of shares."""
    axes = []
    for number in numbers:
        even = [-1 + 2 * k / (number - 1) for k in range(number)] if number > 1 else []
        axes.append(sorted({round(share, 12) for share in [*even, 0.0]}))
    return list(itertools.product(*axes))


@pytest.mark.parametrize("points", [1, 2, 3, 5, (3, 1, 4, 2), (1, 1, 1, 6)])
def test_the_worst_of_every_point_is_found(points: Any) -> None:
    radius = torch.tensor([1.0, 0.5, 0.0, 0.3], dtype=torch.float64)
    region = SpatialBox(radius=radius).at(torch.rand(4, 1, 5, 5, dtype=torch.float64))
    loss = Hills(torch.randn(4, 4, dtype=torch.float64))
    best = GridSearch(points)(region, loss)

    grid = torch.tensor(written_out((points,) * 4 if isinstance(points, int) else points), dtype=torch.float64)
    values = torch.stack([loss(region.images, radius[:, None] * share)[0] for share in grid])
    assert_close(best.loss, values.amax(0))
    assert (best.calls == len(grid)).all()
    tried = torch.stack(loss.seen[: len(grid)])[:, 0]
    assert_close(torch.unique(tried, dim=0), torch.unique(grid, dim=0))


def test_points_are_tried_from_the_centre_outward_and_the_nearest_of_equals_counts() -> None:
    region = SpatialBox().at(torch.rand(1, 1, 4, 4))
    loss = Hills(torch.zeros(1, 4))
    GridSearch(5)(region, loss)
    reach = torch.cat(loss.seen).abs().amax(1)

    assert reach[0] == 0
    assert (reach.diff() >= 0).all()
    flat = GridSearch(3)(Line(2, LinfBall(1.0)), Level())
    assert (flat.offsets == 0).all()


def test_boxes_cut_by_bounds_have_their_ends_on_the_grid() -> None:
    region = PixelBall("linf", 0.2).at(torch.tensor([[0.1, 1.0]], dtype=torch.float64))
    loss = Hills(torch.zeros(1, 2, dtype=torch.float64))
    GridSearch(3)(region, loss)
    tried = torch.cat(loss.seen)

    assert_close(torch.unique(tried[:, 0]), torch.tensor([-0.1, 0.0, 0.2], dtype=torch.float64))
    assert_close(torch.unique(tried[:, 1]), torch.tensor([-0.2, 0.0], dtype=torch.float64))


def test_turned_images_are_found_as_by_trying_them_one_by_one() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x, y = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    found = Adversary(SpatialBox(), Margin(), GridSearch((5, 1, 3, 3)))(model, x, y)
    region = SpatialBox().at(x)
    judge = Margin().at(model, x, y)
    with torch.no_grad():
        values = torch.stack(
            [judge(region.decode(u), u)[0] for u in (torch.tensor(s).expand(6, 4) for s in written_out((5, 1, 3, 3)))]
        )

    assert_close(found.loss, values.amax(0))


def test_images_that_are_reached_leave_and_the_others_lose_nothing() -> None:
    region = SpatialBox(radius=0.6).at(torch.rand(3, 1, 4, 4))
    phases = torch.randn(3, 4)
    whole = GridSearch(3)(region, Hills(phases))
    levels = torch.stack([torch.tensor(-9.0), whole.loss[1] + 1, whole.loss[2] - 1e-4])
    stopped = GridSearch(3, stop_on_success=True)(region, Hills(phases, levels))

    assert stopped.calls[0] == 5
    assert stopped.calls[1] == 81
    assert stopped.success.tolist() == [True, False, True]
    assert_close(stopped.loss[1:], whole.loss[1:])


def test_a_given_start_is_tried_as_well() -> None:
    region = SpatialBox().at(torch.rand(1, 1, 4, 4))
    loss = Hills(torch.zeros(1, 4))
    top = torch.full((1, 4), math.pi / 14)
    best = GridSearch(3)(region, loss, start=top)

    assert_close(best.offsets, top)
    assert best.calls == 82


@pytest.mark.parametrize(
    ("points", "region", "message"),
    [
        (5, Line(4, L2Ball(1.0)), "needs a box with finite ends, got a Line without"),
        (5, Line(4, LinfBall(math.inf)), "needs a box with finite ends"),
        (5, Line(4, LinfBall(torch.tensor([1.0, math.inf]))), "needs a box with finite ends"),
        (5, Line(784, LinfBall(1.0)), "more than 100000 points along 784 coordinates"),
        (16, Line(5, LinfBall(1.0)), "more than 100000 points"),
        ((3, 3), Line(4, LinfBall(1.0)), "points along 2 coordinates, the set 4"),
    ],
)
def test_sets_that_do_not_fit_say_so(points: Any, region: Region, message: str) -> None:
    reason = GridSearch(points).misfit(region)

    assert reason is not None
    assert message in reason


def test_grids_of_up_to_the_most_points_fit() -> None:
    assert GridSearch(9).misfit(Line(5, LinfBall(1.0))) is None
    assert GridSearch((3, 3, 1)).misfit(Line(3, LinfBall(torch.tensor([1.0, 0.0])))) is None


def test_a_region_that_does_not_fit_is_refused_without_an_adversary_too() -> None:
    with pytest.raises(ValueError, match="region must fit GridSearch: it needs a box"):
        GridSearch()(Line(2, L2Ball(1.0)), Hills(torch.zeros(2, 2)))


@pytest.mark.parametrize("points", [0, -1, (), (3, 0)])
def test_impossible_settings_are_refused(points: Any) -> None:
    with pytest.raises(ValueError, match="points must be at least 1"):
        GridSearch(points)
