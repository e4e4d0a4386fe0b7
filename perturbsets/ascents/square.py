"""The Square attack: random changes of squares, accepted where the loss rises."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import Offsets, Rows
from perturbsets.ascents.base import Active, Ascent, Best, check_at_least_one
from perturbsets.objectives.base import Loss
from perturbsets.sets.balls import L2Ball
from perturbsets.sets.base import LinfBall, Region
from perturbsets.sets.pixel import PixelRegion

Pixels = Float[Tensor, "B C P"]
Windowed = Float[Tensor, "B C M"]
Places = Int64[Tensor, "B M"]


def window_size(share: float, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the square that covers a share of an image's pixels, at least 1 each.

    Where the square would be higher or wider than the image, it is a rectangle instead.
    """
    area = share * height * width
    side = max(1, round(math.sqrt(area)))
    if side > height:
        return height, min(max(1, round(area / height)), width)
    return (min(round(area / width), height), width) if side > width else (side, side)


def places(top: Int64[Tensor, " B"], left: Int64[Tensor, " B"], size: tuple[int, int], width: int) -> Places:
    """Numbers of the pixels in one window per image, all of one size, in images of that width."""
    rows = top[:, None, None] + torch.arange(size[0], device=top.device)[:, None]
    columns = left[:, None, None] + torch.arange(size[1], device=top.device)
    return (rows * width + columns).flatten(1)


def read(pixels: Pixels, where: Places) -> Windowed:
    """The values in one window per image."""
    return pixels.gather(2, where[:, None].expand(-1, pixels.shape[1], -1))


def write(pixels: Pixels, where: Places, values: Windowed) -> Pixels:
    """A copy with other values in one window per image."""
    return pixels.scatter(2, where[:, None].expand(-1, pixels.shape[1], -1), values)


def bumps(size: tuple[int, int]) -> Float[Tensor, "2 H W"]:
    r"""Two patterns of norm 1 with a positive and a negative half: one above the other, and side by side.

    .. math:: \eta_{rs} = \sum_{j=d(r,s)}^{n} \frac{1}{(j+1)^2}

    with :math:`d` the distance from the middle, the larger one of rows and columns, and :math:`n` its largest value
    (Andriushchenko et al., *Square attack*, 2020, eq. 2).
    """
    (height, width), upper, left = size, size[0] // 2, size[1] // 2
    above = torch.cat([_hill(upper, width), -_hill(height - upper, width)], 0)
    beside = torch.cat([_hill(height, left), -_hill(height, width - left)], 1)
    both = torch.stack([above, beside])
    return both / both.square().sum((1, 2), keepdim=True).sqrt()


def _hill(height: int, width: int) -> Float[Tensor, "H W"]:
    down, across = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    distance = torch.maximum(down.abs()[:, None], across.abs())
    steps = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).square()
    return steps.flip(0).cumsum(0).flip(0)[distance]


TILES = 5  # in each direction, of the first point in L2


class Moves(ABC):
    """Proposals for a batch. Draws are made for all images, so that dropped ones change nothing for the others."""

    def __init__(self, region: PixelRegion, generator: torch.Generator | None) -> None:
        self.count, self.channels, self.height, self.width = region.images.shape
        self.radii = region.ball.radii(region.low)[:, :, None]
        self.generator = generator

    @abstractmethod
    def first(self) -> Pixels:
        """Where every image begins, before projection."""

    @abstractmethod
    def following(self, pixels: Pixels, share: float, rows: Rows) -> Pixels:
        """The next points of some rows of the batch, before projection.

        Args:
            pixels: Their best offsets so far.
            share: Share of the pixels in a window.
            rows: Which they are.
        """

    def _whole(self, below: int, *shape: int) -> Tensor:
        device = "cpu" if self.generator is None else self.generator.device
        drawn = torch.randint(below, (self.count, *shape), generator=self.generator, device=device)
        return drawn.to(self.radii.device)

    def _signs(self, *shape: int) -> Tensor:
        return (2 * self._whole(2, *shape) - 1).to(self.radii.dtype)

    def _places(self, size: tuple[int, int], rows: Rows) -> Places:
        top, left = self._whole(self.height - size[0] + 1), self._whole(self.width - size[1] + 1)
        return places(top[rows], left[rows], size, self.width)


class CubeMoves(Moves):
    """To corners of the cube: vertical stripes, then squares of one value per channel."""

    def first(self) -> Pixels:
        return (self.radii * self._signs(self.channels, self.width)).repeat(1, 1, self.height)

    def following(self, pixels: Pixels, share: float, rows: Rows) -> Pixels:
        where = self._places(window_size(share, self.height, self.width), rows)
        signs, flipped = self._signs(self.channels)[rows, :, None], self._whole(self.channels, 1, 1)[rows]
        same = (read(pixels, where).sign() == signs).all(1).all(1)[:, None, None]
        channel = torch.arange(self.channels, device=signs.device)[:, None]
        signs = torch.where(same & (channel == flipped), -signs, signs)
        return write(pixels, where, (self.radii[rows] * signs).expand(-1, -1, where.shape[1]))


class BallMoves(Moves):
    """Along the sphere: a grid of bumps, then the norm of one window moved to a bump in another."""

    def first(self) -> Pixels:
        side = max(1, min(self.height, self.width) // TILES)
        down, across = self.height // side, self.width // side
        shapes = bumps((side, side)).to(self.radii)[self._whole(2, down, across)]
        tiles = self._signs(self.channels, down, across)[..., None, None] * shapes[:, None]
        grid = self.radii.new_zeros(self.count, self.channels, self.height, self.width)
        top, left = (self.height - down * side) // 2, (self.width - across * side) // 2
        inside = tiles.transpose(3, 4).reshape(self.count, self.channels, down * side, across * side)
        grid[:, :, top : top + down * side, left : left + across * side] = inside
        flat = grid.flatten(2)
        return self.radii * flat / _norms(flat, 1, 2)

    def following(self, pixels: Pixels, share: float, rows: Rows) -> Pixels:
        size = self._odd(window_size(share, self.height, self.width))
        target, source = self._places(size, rows), self._places(size, rows)
        shapes = bumps(size).to(pixels).flatten(1)[self._whole(2)[rows]]
        bump = self._signs(self.channels)[rows, :, None] * shapes[:, None]
        unused = (self.radii[rows].square() - pixels.square().sum((1, 2), keepdim=True)).clamp_min(0)
        here = read(pixels, target)
        pixels = write(pixels, target, torch.zeros_like(here))
        there = read(pixels, source)  # zero where both overlap: what lies there counts once
        pixels = write(pixels, source, torch.zeros_like(there))
        shape = bump + here / _norms(here, 2)
        available = here.square().sum(2, keepdim=True) + there.square().sum(2, keepdim=True) + unused / self.channels
        return write(pixels, target, available.sqrt() * shape / _norms(shape, 2))

    def _odd(self, size: tuple[int, int]) -> tuple[int, int]:
        """At least 3 and odd, so that a bump has a middle, as far as the image allows."""
        return min(max(size[0], 3) | 1, self.height), min(max(size[1], 3) | 1, self.width)


def _norms(pixels: Pixels, *dims: int) -> Tensor:
    return pixels.square().sum(dims, keepdim=True).sqrt().clamp_min(torch.finfo(pixels.dtype).tiny)


HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10 000 queries, as in the authors' release


@dataclass(frozen=True)
class Square(Ascent):
    r"""Random search by squares in L2 and L-inf balls of images; no gradients needed.

    A step proposes a change inside a window at a random place, accepted where the loss rises or the attack succeeds.
    The window shrinks on a fixed schedule. In L-inf each channel of the window moves to :math:`\pm r`, after a start of
    vertical stripes; a square that would change nothing has the sign of one channel flipped. In L2 the search starts at
    a grid of bumps, and a step takes the norm of one window, and what the ball leaves unused, to put it on a bump in
    another, so that the norm stays that of the ball.

    Args:
        queries: Number of points tried, the start included; each costs one forward pass.
        p_init: Share of the pixels that the first windows cover, in (0, 1].
        stop_on_success: Whether images whose attack succeeded leave the computation, each at once.

    Raises:
        ValueError: If a setting is outside its range.

    References:
        Andriushchenko, Croce, Flammarion and Hein, *Square attack: a query-efficient black-box adversarial attack via
        random search*, 2020, algorithms 1-3.
    """

    queries: int = 5000
    _: KW_ONLY
    p_init: float = 0.8
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        check_at_least_one(queries=self.queries)
        if not 0 < self.p_init <= 1:
            raise ValueError(f"p_init must be in (0, 1], got {self.p_init}: it is a share of the pixels")

    def misfit(self, region: Region) -> str | None:
        if not isinstance(region, PixelRegion) or region.images.ndim != 4:
            shape = list(region.images.shape)
            return f"it changes squares of pixels, got a {type(region).__name__} of {shape}: take a PixelBall of images"
        if not isinstance(region.ball, L2Ball | LinfBall):
            return f'it knows the norms "l2" and "linf", got a {type(region.ball).__name__}: take APGD'
        if not bool(region.ball.radii(region.low).isfinite().all()):
            return "it moves to the edge of the ball, got an infinite radius: give one, or take ProjectedLBFGS"
        return None

    def __call__(
        self, region: Region, loss: Loss, *, start: Offsets | None = None, generator: torch.Generator | None = None
    ) -> Best:
        if not isinstance(region, PixelRegion):
            raise ValueError(f"region must fit Square: {self.misfit(region)}")
        active = Active(region, loss, Best(region, loss))
        moves = (BallMoves if isinstance(region.ball, L2Ball) else CubeMoves)(region, generator)
        every = torch.arange(len(region.images), device=region.images.device)
        offsets = moves.first().flatten(1) if start is None else start
        for query, share in enumerate(self._shares()):
            if not active.any_left(drop=self.stop_on_success):
                break
            if query:
                pixels = active.of(active.best.offsets).unflatten(1, (region.images.shape[1], -1))
                offsets = moves.following(pixels, share, active.of(every)).flatten(1)
            active.evaluate(active.region.project(offsets))
        return active.best

    def _shares(self) -> list[float]:
        """Of the pixels in a window, query by query."""
        scale = 10_000 / self.queries
        return [self.p_init / 2 ** sum(query * scale > mark for mark in HALVINGS) for query in range(self.queries)]
