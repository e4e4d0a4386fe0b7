"""What the Square attack proposes: first points, and changes inside windows, in L-inf and in L2."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from perturbsets._types import Rows
from perturbsets.ascents.windows import Pixels, Places, bumps, places, read, window_size, write
from perturbsets.sets.pixel import PixelRegion

TILES = 5  # in each direction, of the first point in L2


class Moves(ABC):
    """Proposals for a batch. Draws are made for all images, so that those who leave change nothing for the others.

    Args:
        region: Where the images may go; the radii must be finite.
        generator: For all draws.
    """

    def __init__(self, region: PixelRegion, generator: torch.Generator | None) -> None:
        self.count, self.channels, self.height, self.width = region.images.shape
        self.radii = region.ball.radii(region.low)[:, :, None]
        self.generator = generator

    @abstractmethod
    def first(self) -> Pixels:
        """Where every image begins, before projection."""

    @abstractmethod
    def following(self, pixels: Pixels, share: float, rows: Rows) -> Pixels:
        """What some images try next, before projection.

        Args:
            pixels: Their best offsets so far.
            share: Share of the pixels in a window.
            rows: Their rows in the batch.
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
        signs, turned = self._signs(self.channels)[rows, :, None], self._whole(self.channels, 1, 1)[rows]
        same = (read(pixels, where).sign() == signs).all(1).all(1)[:, None, None]
        channel = torch.arange(self.channels, device=signs.device)[:, None]
        signs = torch.where(same & (channel == turned), -signs, signs)
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
