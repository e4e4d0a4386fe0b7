"""Searches without gradients: random draws, and every point of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from perturbsets._types import Offsets
from perturbsets.ascents.base import CHECK_EVERY, Active, Ascent, Best, check_at_least_one, finite_box
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region

MOST_POINTS = 100_000


@dataclass(frozen=True)
class RandomSearch(Ascent):
    """The worst of several draws from the set's own distribution; no gradients needed.

    Args:
        draws: Number of draws; 1 measures the average case.

    Raises:
        ValueError: If there are no draws.
    """

    draws: int = 10

    def __post_init__(self) -> None:
        check_at_least_one(draws=self.draws)

    def misfit(self, region: Region) -> str | None:
        return None

    def __call__(
        self, region: Region, loss: Loss, *, start: Offsets | None = None, generator: torch.Generator | None = None
    ) -> Best:
        active = Active(region, loss, Best(region, loss))
        with torch.no_grad():
            for draw in range(self.draws):
                first = start if draw == 0 else None
                active.evaluate(region.sample(generator=generator) if first is None else region.project(first))
        return active.best


@dataclass(frozen=True)
class GridSearch(Ascent):
    r"""The worst of all points of a grid over a box of few offsets, such as rotations and shifts; no gradients needed.

    .. math:: u \in \prod_j \big\{\, s^- l_j + s^+ h_j : s \in \{-1, \dots, 0, \dots, 1\} \,\big\}, \qquad
        s^\pm = \max(\pm s, 0)

    for the box from :math:`l` to :math:`h`, so that each image's own radius scales its grid. Points are tried from the
    centre outward, and among equals the first counts.

    Args:
        points: Number of points along all coordinates or each, evenly spaced, both ends among them; the centre is added
            where it is even, and is the only point where it is 1. 100 000 points at most, each one forward pass.
        stop_on_success: Whether images whose attack succeeded leave the computation.

    Raises:
        ValueError: If there are no points.

    References:
        Engstrom et al., *Exploring the landscape of spatial robustness*, 2019, sec. 3.2.
    """

    points: int | tuple[int, ...] = 5
    _: KW_ONLY
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        numbers = (self.points,) if isinstance(self.points, int) else tuple(self.points)
        if not numbers or min(numbers) < 1:
            raise ValueError(f"points must be at least 1 along each coordinate, got {self.points}")

    def misfit(self, region: Region) -> str | None:
        if finite_box(region) is None:
            return f"it needs a box with finite ends, got a {type(region).__name__} without: take APGD or RandomSearch"
        if isinstance(self.points, tuple) and len(self.points) != region.size:
            return f"it has points along {len(self.points)} coordinates, the set {region.size}: give as many"
        if math.prod(number + (number % 2 == 0) for number in self._numbers(region.size)) > MOST_POINTS:
            return f"its grid has more than {MOST_POINTS} points along {region.size} coordinates: take fewer or APGD"
        return None

    def __call__(
        self, region: Region, loss: Loss, *, start: Offsets | None = None, generator: torch.Generator | None = None
    ) -> Best:
        box, active = region.box(), Active(region, loss, Best(region, loss))
        if box is None:
            raise ValueError(f"region must fit GridSearch: {self.misfit(region)}")
        for number, offsets in enumerate(self._points(*box, start)):
            if number % CHECK_EVERY == 0 and not active.any_left(drop=self.stop_on_success):
                break
            active.evaluate(active.region.project(active.of(offsets)))
        return active.best

    def _numbers(self, size: int) -> tuple[int, ...]:
        return (self.points,) * size if isinstance(self.points, int) else self.points

    def _points(self, low: Offsets, high: Offsets, start: Offsets | None) -> Iterator[Offsets]:
        if start is not None:
            yield start
        axes = [_shares(number).to(low) for number in self._numbers(low.shape[1])]
        grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        for shares in grid[grid.abs().amax(1).argsort(stable=True)]:
            yield torch.where(shares < 0, -low, high) * shares


def _shares(number: int) -> Tensor:
    """Evenly spaced from -1 to 1, the middle always among them."""
    if number == 1:
        return torch.zeros(1)
    return torch.cat([torch.linspace(-1, 1, number, dtype=torch.float64), torch.zeros(1 - number % 2)]).sort().values
