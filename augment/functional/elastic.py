"""Elastic change: an image tilted, then shaken."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import grid_sample

from augment._types import Images, Seeds
from augment.functional.counter import uniform
from augment.functional.filters import smooth
from augment.functional.images import Amount, check_amount, column, on_unit_images, per_image

Column = Float[Tensor, "#B 1 1 1"]

Places = Float[Tensor, "#B 2 H W"]
"""For each pixel a place in pixels, x before y."""


@on_unit_images
def elastic_transform(images: Images, displacement: Amount, sigma: Amount, tilt: Amount, seeds: Seeds) -> Images:
    r"""Moves three points of each image, and the rest with them by an affine map; then displaces each pixel.

    .. math:: x'_p = \tilde x_{p + a\, G_\sigma * n}, \quad \tilde x_p = x_{A p}, \quad n \sim \mathcal U(-1, 1)

    :math:`A` takes the moved points to where they were: three corners of a square of :math:`2 \lfloor \min(H, W) / 3
    \rfloor` pixels about the centre. Both readings are bilinear, from the image mirrored at its border.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        displacement: Factor :math:`a` of the displacement, in pixels.
        sigma: Standard deviation, in pixels, of the Gaussian :math:`G_\sigma`, which is cut off at three of them.
        tilt: Largest move of the three points in x and y, in pixels.
        seeds: One per image; the same seeds give the same movement.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or a setting is out of range or neither one number nor one per image.

    References:
        Simard, Steinkraus and Platt, *Best practices for convolutional neural networks applied to visual document
        analysis*, 2003, for smoothed random displacements.
    """
    check_amount("displacement", displacement)
    check_amount("sigma", sigma)
    check_amount("tilt", tilt)
    displacement, sigma = column(displacement, images, "displacement"), column(sigma, images, "sigma")
    tilt, seeds = column(tilt, images, "tilt"), per_image(seeds, images)
    height, width = images.shape[2:]
    tilted = _read(images, _tilted(_pixels(height, width, tilt), tilt, seeds), mirrored_at="pixels")
    return _read(tilted, _shaken(_pixels(height, width, tilt), displacement, sigma, seeds), mirrored_at="edges")


def elastic_move(
    masks: Shaped[Tensor, "B N H W"], displacement: Amount, sigma: Amount, tilt: Amount, seeds: Seeds
) -> Shaped[Tensor, "B N H W"]:
    """Moves masks as :func:`elastic_transform` moves their images; each pixel takes the nearest label.

    Args:
        masks: Labels or stencils of any type, of the size of their images.
        displacement: As for the images, and so is the rest.
        sigma: Standard deviation in pixels.
        tilt: Largest move of the three points in pixels.
        seeds: One per image.

    Returns:
        Masks of the same shape and type.

    Raises:
        ValueError: If a setting is neither one number nor one per image.
    """
    like = torch.empty(len(masks), 0, device=masks.device)
    tilt, seeds = column(tilt, like, "tilt"), seeds.to(masks.device)
    height, width = masks.shape[2:]
    still = _pixels(height, width, tilt)
    shaken = _shaken(still, column(displacement, like, "displacement"), column(sigma, like, "sigma"), seeds)
    inside = [_mirrored(place, length) for place, length in zip(shaken.unbind(1), (width, height), strict=True)]
    x, y = _tilted(torch.stack(inside, 1), tilt, seeds).round().long().unbind(1)
    x, y = x % (2 * width - 2), y % (2 * height - 2)
    x, y = torch.minimum(x, 2 * width - 2 - x), torch.minimum(y, 2 * height - 2 - y)
    source = (y * width + x).flatten(1)[:, None].expand(-1, masks.shape[1], -1)
    return masks.flatten(2).gather(2, source).view(masks.shape)


def _pixels(height: int, width: int, like: Tensor) -> Places:
    """Each pixel's own place."""
    x = torch.arange(width, device=like.device, dtype=like.dtype).expand(height, width)
    y = torch.arange(height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
    return torch.stack([x, y])[None]


def _tilted(places: Places, tilt: Column, seeds: Seeds) -> Places:
    r"""The places :math:`A p`.

    With :math:`q_i` the moved points and :math:`2 s` the side of the square, :math:`A` takes :math:`q_1 - q_0` to
    :math:`(0, -2s)`, :math:`q_2 - q_1` to :math:`(-2s, 0)`, and :math:`q_0` to the lower right corner.
    """
    height, width = places.shape[2:]
    side = 2 * (min(height, width) // 3)
    corner = places.new_tensor([width // 2, height // 2]).view(1, 2) + side / 2
    moves = (uniform(seeds, 6, "elastic_transform: points").to(tilt.dtype) * 2 - 1).view(-1, 3, 2) * tilt[:, 0]
    up = moves[:, 1] - moves[:, 0] + places.new_tensor([0, -side])
    left = moves[:, 2] - moves[:, 1] + places.new_tensor([-side, 0])
    area = up[:, 0] * left[:, 1] - up[:, 1] * left[:, 0]
    # On small images the points may come to lie in a line, and no map takes them back.
    area = torch.where(area.abs() < 1, -1, area)
    rows = [-up[:, 1], up[:, 0], left[:, 1], -left[:, 0]]
    a, b, c, d = (torch.stack(rows, 1) * (-side / area)[:, None]).view(-1, 4, 1, 1).unbind(1)
    x, y = (places - (corner + moves[:, 0]).view(-1, 2, 1, 1)).unbind(1)
    return torch.stack([a * x + b * y, c * x + d * y], 1) + corner.view(1, 2, 1, 1)


def _shaken(places: Places, displacement: Column, sigma: Column, seeds: Seeds) -> Places:
    """The places moved by smooth noise."""
    height, width = places.shape[2:]
    noise = uniform(seeds, 2 * height * width, "elastic_transform: pixels").to(places.dtype) * 2 - 1
    noise = noise.view(-1, 2, height, width)
    return places + displacement * smooth(noise, sigma, truncate=3.0, border="symmetric")


def _mirrored(places: Tensor, length: int) -> Tensor:
    """Places brought inside by mirrors at the outer edges of the first and the last pixel."""
    turned = (places + 0.5) % (2 * length)
    return (torch.minimum(turned, 2 * length - turned) - 0.5).clamp(0, length - 1)


def _read(images: Images, places: Places, mirrored_at: Literal["edges", "pixels"]) -> Images:
    """Bilinear values at places; mirrors stand on the outermost pixels, or at their outer edges."""
    on_pixels = mirrored_at == "pixels"
    size = places.new_tensor([images.shape[3], images.shape[2]]).view(1, 2, 1, 1)
    unit = places * (2 / (size - 1)) - 1 if on_pixels else (places * 2 + 1) / size - 1
    return grid_sample(images, unit.permute(0, 2, 3, 1), "bilinear", "reflection", align_corners=on_pixels)
