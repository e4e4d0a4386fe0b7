"""Elastic transform: a random affine map, then smooth random displacements."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import grid_sample

from augment._types import Images, Seeds
from augment.functional.counter import uniform
from augment.functional.filters import smooth
from augment.functional.images import Amount, Column, column, on_unit_images, per_image

Positions = Float[Tensor, "#B 2 H W"]
"""A position for each pixel, in pixels, x before y."""


@on_unit_images
def elastic_transform(images: Images, displacement: Amount, sigma: Amount, tilt: Amount, seeds: Seeds) -> Images:
    r"""Applies a random affine map to each image, then displaces its pixels by smooth noise.

    .. math:: x'_p = \tilde x_{p + a\, G_\sigma * n}, \quad \tilde x_p = x_{A p}, \quad n \sim \mathcal U(-1, 1)

    Three corners of a square of :math:`2 \lfloor \min(H, W) / 3 \rfloor` pixels about the centre are moved at random;
    :math:`A` is the affine map that takes them back. Interpolation is bilinear, with mirrored borders.

    Args:
        images: Images.
        displacement: Factor :math:`a` of the displacement, in pixels.
        sigma: Standard deviation, in pixels, of the Gaussian :math:`G_\sigma`, which is truncated at three of them.
        tilt: Largest displacement of the three corners along x and y, in pixels.
        seeds: One per image.

    References:
        Simard, Steinkraus and Platt, *Best practices for convolutional neural networks applied to visual document
        analysis*, 2003, for smoothed random displacements.
    """
    displacement, sigma = column("displacement", displacement, images), column("sigma", sigma, images)
    tilt, seeds = column("tilt", tilt, images), per_image(seeds, images)
    pixels = _pixels(images.shape[2], images.shape[3], tilt)
    tilted = _read(images, _affine(pixels, tilt, seeds), mirrored_at="pixels")
    return _read(tilted, _displaced(pixels, displacement, sigma, seeds), mirrored_at="edges")


def elastic_move(
    masks: Shaped[Tensor, "B N H W"], displacement: Amount, sigma: Amount, tilt: Amount, seeds: Seeds
) -> Shaped[Tensor, "B N H W"]:
    """Moves masks of any type like their images in :func:`elastic_transform`, by nearest-neighbour interpolation."""
    like = torch.empty(len(masks), 0, device=masks.device)
    tilt, seeds = column("tilt", tilt, like), seeds.to(masks.device)
    displacement, sigma = column("displacement", displacement, like), column("sigma", sigma, like)
    height, width = masks.shape[2:]
    displaced = _displaced(_pixels(height, width, tilt), displacement, sigma, seeds)
    inside = [_mirrored(line, length) for line, length in zip(displaced.unbind(1), (width, height), strict=True)]
    x, y = _affine(torch.stack(inside, 1), tilt, seeds).round().long().unbind(1)
    x, y = x % (2 * width - 2), y % (2 * height - 2)
    x, y = torch.minimum(x, 2 * width - 2 - x), torch.minimum(y, 2 * height - 2 - y)
    source = (y * width + x).flatten(1)[:, None].expand(-1, masks.shape[1], -1)
    return masks.flatten(2).gather(2, source).view(masks.shape)


def _pixels(height: int, width: int, like: Tensor) -> Positions:
    """Each pixel's own position."""
    x, y = (torch.arange(length, device=like.device, dtype=like.dtype) for length in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


def _affine(positions: Positions, tilt: Column, seeds: Seeds) -> Positions:
    r"""The positions :math:`A p`.

    With :math:`q_i` the moved corners and :math:`2 s` the side of the square, :math:`A` takes :math:`q_1 - q_0` to
    :math:`(0, -2s)`, :math:`q_2 - q_1` to :math:`(-2s, 0)`, and :math:`q_0` to the lower right corner.
    """
    height, width = positions.shape[2:]
    side = 2 * (min(height, width) // 3)
    corner = positions.new_tensor([width // 2, height // 2]).view(1, 2) + side / 2
    moves = (uniform(seeds, 6, "elastic_transform: points").to(tilt.dtype) * 2 - 1).view(-1, 3, 2) * tilt[:, 0]
    up = moves[:, 1] - moves[:, 0] + positions.new_tensor([0, -side])
    left = moves[:, 2] - moves[:, 1] + positions.new_tensor([-side, 0])
    area = up[:, 0] * left[:, 1] - up[:, 1] * left[:, 0]
    # In small images the corners may become collinear, and the map singular.
    area = torch.where(area.abs() < 1, -1, area)
    rows = [-up[:, 1], up[:, 0], left[:, 1], -left[:, 0]]
    a, b, c, d = (torch.stack(rows, 1) * (-side / area)[:, None]).view(-1, 4, 1, 1).unbind(1)
    x, y = (positions - (corner + moves[:, 0]).view(-1, 2, 1, 1)).unbind(1)
    return torch.stack([a * x + b * y, c * x + d * y], 1) + corner.view(1, 2, 1, 1)


def _displaced(positions: Positions, displacement: Column, sigma: Column, seeds: Seeds) -> Positions:
    """The positions plus smooth noise."""
    noise = uniform(seeds, positions[0].numel(), "elastic_transform: pixels").to(positions.dtype) * 2 - 1
    noise = noise.view(-1, *positions.shape[1:])
    return positions + displacement * smooth(noise, sigma, truncate=3.0, border="symmetric")


def _mirrored(positions: Tensor, length: int) -> Tensor:
    """Positions mirrored into a line of pixels, at the outer edges of its first and last pixel."""
    folded = (positions + 0.5) % (2 * length)
    return (torch.minimum(folded, 2 * length - folded) - 0.5).clamp(0, length - 1)


def _read(images: Images, positions: Positions, mirrored_at: Literal["edges", "pixels"]) -> Images:
    """Bilinear interpolation of images mirrored about their outermost pixels, or about the outer edges of these."""
    on_pixels = mirrored_at == "pixels"
    size = positions.new_tensor([images.shape[3], images.shape[2]]).view(1, 2, 1, 1)
    unit = positions * (2 / (size - 1)) - 1 if on_pixels else (positions * 2 + 1) / size - 1
    return grid_sample(images, unit.permute(0, 2, 3, 1), "bilinear", "reflection", align_corners=on_pixels)
