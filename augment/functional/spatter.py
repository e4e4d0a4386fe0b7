"""Spatter: drops of water or mud on the lens.

The shading of water follows the published program step by step: Canny edges of the drops, a distance transform, a
histogram equalisation and an emboss filter.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from augment._types import Images, Seeds
from augment.functional.colour import luminance
from augment.functional.counter import normal
from augment.functional.filters import smooth
from augment.functional.images import Amount, by_setting, check_colours, column, on_unit_images, per_image

Layer = Float[Tensor, "B 1 H W"]

FARTHEST = 20  # distance from an edge, in pixels, from which on the shading is constant
WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
MUD = (63 / 255, 42 / 255, 20 / 255)  # dark brown


@on_unit_images
def spatter(
    images: Images,
    mean: Amount,
    deviation: Amount,
    sigma: Amount,
    threshold: Amount,
    strength: Amount,
    mud: Amount,
    seeds: Seeds,
) -> Images:
    r"""Adds drops of water or mud to each image, where smooth noise exceeds a threshold.

    Normal noise is smoothed by a Gaussian of :math:`\sigma` and set to 0 below a threshold :math:`t`. The mask
    :math:`m` of water is this layer times a shading of the drops, scaled to the highest value :math:`s`. The mask of
    mud is 1 where the layer is above :math:`t`, smoothed by a Gaussian of :math:`s` pixels and set to 0 below 0.8. With
    the colour :math:`k`:

    .. math:: x'_\text{water} = x + m\,k_\text{turquoise}, \quad x'_\text{mud} = (1 - m)\,x + m\,k_\text{brown}

    Grey images get the colours' luminance.

    Args:
        images: Grey or colour images.
        mean: Mean of the noise, on the pixel range [0, 1].
        deviation: Standard deviation of the noise before smoothing.
        sigma: Standard deviation of the Gaussian in pixels: size of the drops.
        threshold: Value of the layer below which there is no drop.
        strength: For water its highest value, on the pixel range [0, 1]; for mud the width of its edge in pixels.
        mud: 1 for mud, 0 for water.
        seeds: One per image.
    """
    check_colours(images)
    mean, threshold = column("mean", mean, images, -math.inf), column("threshold", threshold, images, -math.inf)
    deviation, sigma = column("deviation", deviation, images), column("sigma", sigma, images)
    strength, muddy = column("strength", strength, images), column("mud", mud, images)
    noise = normal(per_image(seeds, images), images[0, 0].numel(), "spatter").to(images.dtype).view_as(images[:, :1])
    layer = smooth(mean + deviation * noise, sigma, truncate=4.0, border="edge")
    layer = layer.masked_fill(layer < threshold, 0).clamp(0, 1)
    mask = torch.empty_like(layer)
    for rows, kind in by_setting(images, mud=mud):
        bound, much = (value[rows] if len(value) > 1 else value for value in (threshold, strength))
        if kind["mud"] == 0:
            mask[rows] = much * relief(layer[rows])
        elif kind["mud"] == 1:
            blob = smooth((layer[rows] > bound).to(images.dtype), much, truncate=4.0, border="edge")
            mask[rows] = blob.masked_fill(blob < 0.8, 0)
        else:
            raise ValueError(f"mud must be 0 for water or 1 for mud, got {kind['mud']:g}")
    water_colour, mud_colour = (images.new_tensor(colour).view(1, 3, 1, 1) for colour in (WATER, MUD))
    colour = torch.where(muddy == 1, mud_colour, water_colour)
    if images.shape[1] == 1:
        colour = luminance(colour)
    return images * (1 - muddy * mask) + mask * colour


def relief(layer: Layer) -> Layer:
    """Drops in [0, 1] times a shading of the distance to their edges, scaled to at most 1.

    Levels are those of 8 bits; distance and shading are averaged over 3x3 pixels.
    """
    levels = (layer * 255).floor()
    distance = _average(distance_to(edges(levels))).floor()
    sides = layer.new_tensor([[[[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]]])
    shade = conv2d(pad(even(distance.long()).to(layer.dtype), (1, 1, 1, 1), "reflect"), sides).clamp(0, 255)
    drops = levels * _average(shade).round()
    highest = drops.amax((2, 3), keepdim=True)
    return drops / highest.masked_fill(highest == 0, 1)


def edges(levels: Layer, low: float = 50.0, high: float = 150.0) -> Layer:
    """Canny edges: 1 where the gradient is a maximum along its own direction, 0 elsewhere.

    Of levels from 0 to 255; gradients are sums of Sobel's two differences. Maxima above `high` count, and those above
    `low` that are connected to one.

    References:
        Canny, *A computational approach to edge detection*, 1986.
    """
    sobel = levels.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    x, y = conv2d(pad(levels, (1, 1, 1, 1), "replicate"), torch.stack([sobel, sobel.T])[:, None]).split(1, dim=1)
    size = x.abs() + y.abs()
    around = pad(size, (1, 1, 1, 1))

    def neighbour(down: int, right: int) -> Tensor:
        return around[..., 1 + down : around.shape[2] - 1 + down, 1 + right : around.shape[3] - 1 + right]

    level = (size > neighbour(0, -1)) & (size >= neighbour(0, 1))
    upright = (size > neighbour(-1, 0)) & (size >= neighbour(1, 0))
    falling = (size > neighbour(-1, -1)) & (size > neighbour(1, 1))
    rising = (size > neighbour(-1, 1)) & (size > neighbour(1, -1))
    slanted = torch.where(x * y < 0, rising, falling)
    flat, steep = y.abs() < math.tan(math.pi / 8) * x.abs(), y.abs() > math.tan(3 * math.pi / 8) * x.abs()
    peaks = torch.where(flat, level, torch.where(steep, upright, slanted))
    possible, sure = peaks & (size > low), peaks & (size > high)
    while not torch.equal(more := _touching(sure) & possible, sure):
        sure = more
    return sure.to(levels.dtype)


def distance_to(marks: Layer, farthest: int = FARTHEST) -> Layer:
    r"""Distance of each pixel to the nearest mark (a pixel of value 1), in pixels, at most `farthest`.

    .. math:: d(x, y)^2 = \min_{x'} (x - x')^2 + v(x', y)^2, \quad v \text{ the distance within the column}

    References:
        Felzenszwalb and Huttenlocher, *Distance transforms of sampled functions*, 2012, for the two passes.
    """
    height, width = marks.shape[2:]
    row = torch.arange(height, device=marks.device, dtype=marks.dtype)[:, None]
    above = torch.where(marks > 0, row, -farthest).cummax(2).values
    below = torch.where(marks > 0, row, height + farthest).flip(2).cummin(2).values.flip(2)
    column = torch.minimum(row - above, below - row).clamp(max=farthest).square()
    reach = min(farthest, width - 1)
    padded = pad(column, (reach, reach), value=farthest**2)
    nearest = column.clone()
    for step in range(-reach, reach + 1):
        torch.minimum(nearest, padded[..., reach + step : reach + step + width] + step**2, out=nearest)
    return nearest.sqrt().clamp(max=farthest)


def even(levels: Int64[Tensor, "B 1 H W"]) -> Int64[Tensor, "B 1 H W"]:
    """Histogram equalisation of levels 0 to 255: the lowest becomes 0; a layer of one level stays the same."""
    flat = levels.flatten(1)
    histogram = flat.new_zeros(len(flat), 256).scatter_add_(1, flat, torch.ones_like(flat))
    up_to = histogram.cumsum(1).gather(1, flat)
    lowest = up_to.amin(1, keepdim=True)
    more = flat.shape[1] - lowest
    spread = ((up_to - lowest) * (255 / more.clamp(min=1))).round().long()
    return torch.where(more == 0, flat, spread).view(levels.shape)


def _touching(marks: Bool[Tensor, "B 1 H W"]) -> Bool[Tensor, "B 1 H W"]:
    """The marks and their eight neighbours."""
    around = pad(marks, (1, 1, 1, 1))
    rows = around[..., :-2, :] | around[..., 1:-1, :] | around[..., 2:, :]
    return rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]


def _average(layer: Layer) -> Layer:
    return avg_pool2d(pad(layer, (1, 1, 1, 1), "reflect"), 3, 1)
