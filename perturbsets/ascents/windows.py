"""Windows of images: where they lie, how to read and write them, and the bump that fills one in L2."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Pixels = Float[Tensor, "B C P"]
Windowed = Float[Tensor, "B C M"]
Places = Int64[Tensor, "B M"]


def window_size(share: float, height: int, width: int) -> tuple[int, int]:
    """The square that covers a share of an image; where it is higher or wider than the image, a rectangle instead.

    Args:
        share: Share of the pixels, in (0, 1].
        height: Of the image.
        width: Of the image.

    Returns:
        Rows and columns of the window, both at least 1.
    """
    area = share * height * width
    side = max(1, round(math.sqrt(area)))
    if side > height:
        return height, min(max(1, round(area / height)), width)
    return (min(round(area / width), height), width) if side > width else (side, side)


def places(top: Int64[Tensor, " B"], left: Int64[Tensor, " B"], size: tuple[int, int], width: int) -> Places:
    """Numbers of the pixels in one window per image, all of one size.

    Args:
        top: First row of each.
        left: First column of each.
        size: Rows and columns.
        width: Of the image.
    """
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
    r"""A hill beside a valley, of norm 1: one above the other, and side by side.

    .. math:: \eta_{rs} = \sum_{j=d(r,s)}^{n} \frac{1}{(j+1)^2}

    with :math:`d` the distance from the middle, the larger one of rows and columns, and :math:`n` its largest value.

    Args:
        size: Rows and columns.

    References:
        Andriushchenko et al., *Square attack*, 2020, eq. 2.
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
