"""Fog, a plasma fractal added to the image, and snow, a whitened image with streaks of flakes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.blur import streak
from augment.functional.colour import luminance
from augment.functional.counter import normal, uniform
from augment.functional.images import Amount, Column, check_colours, column, on_unit_images, per_image

TOLERANCE = 1e-4  # pixels by which a quotient in float32 may miss a whole number


@on_unit_images
def fog(images: Images, amount: Amount, decay: Amount, seeds: Seeds) -> Images:
    r"""Adds fog of its own to each image, rescaled such that the brightest value stays the same.

    .. math:: x' = \frac{m}{m + a} (x + a F), \quad m = \max x

    :math:`F` is the upper left part of a :func:`plasma`, the same for all channels.

    Args:
        images: Images.
        amount: Density :math:`a \ge 0`.
        decay: Decay of the fractal, at least 1; the higher, the smoother the fog.
        seeds: One per image.
    """
    height, width = images.shape[2:]
    density, decay = column("amount", amount, images), column("decay", decay, images, low=1.0)
    size = 1 << (max(height, width) - 1).bit_length()
    cloud = plasma(per_image(seeds, images), size, decay[:, 0].float())[:, None, :height, :width].to(images.dtype)
    brightest = images.amax((1, 2, 3), keepdim=True)
    # A black image stays black, also where the density is 0.
    return (images + density * cloud) * (brightest / (brightest + density).clamp(min=torch.finfo(images.dtype).tiny))


def plasma(seeds: Seeds, size: int, decay: Float[Tensor, "#B 1 1"]) -> Float[Tensor, "B N N"]:
    r"""Fractals by the diamond-square method on a torus, stretched to [0, 1].

    Starting from a single point, each level :math:`l` sets the middle of every square of points to the mean of its four
    corners, then the middle of every side to the mean of its two ends and the two nearest middles of squares, each plus
    a uniform number in :math:`\pm d^{-2l}`.

    The size is a power of two. The published program multiplies its amplitude into the noise twice, hence the square of
    the decay :math:`d`.

    References:
        Fournier, Fussell and Carpenter, *Computer rendering of stochastic models*, 1982.
    """
    noise = uniform(seeds, size * size, "fog").mul_(2).sub_(1)
    points = noise.new_zeros(len(seeds), 1, 1)
    amplitude, used = torch.ones_like(decay), 0
    while (count := points.shape[1]) < size:
        moves = noise[:, used : used + 3 * count * count].view(-1, 3, count, count) * amplitude[:, None]
        beside, below = points.roll(-1, 2), points.roll(-1, 1)
        middle = (points + beside + below + below.roll(-1, 2)) / 4 + moves[:, 0]
        top = (points + beside + middle + middle.roll(1, 1)) / 4 + moves[:, 1]
        left = (points + below + middle + middle.roll(1, 2)) / 4 + moves[:, 2]
        rows = [torch.stack([points, top], 3), torch.stack([left, middle], 3)]
        points = torch.stack(rows, 2).view(-1, 2 * count, 2 * count)
        amplitude, used = amplitude / decay.square(), used + 3 * count * count
    low, high = points.amin((1, 2), keepdim=True), points.amax((1, 2), keepdim=True)
    return (points - low) / (high - low)


@on_unit_images
def snow(
    images: Images,
    mean: Amount,
    deviation: Amount,
    zoom: Amount,
    threshold: Amount,
    radius: Amount,
    sigma: Amount,
    weight: Amount,
    angle: Amount,
    seeds: Seeds,
) -> Images:
    r"""Whitens each image and adds streaks of snowflakes, in two directions.

    A grey layer of normal noise is enlarged, set to 0 below a threshold and blurred along the wind, which gives
    :math:`L`; with :math:`g` the luminance and :math:`L'` the layer rotated by 180 degrees:

    .. math:: x' = w x + (1 - w) \max(x, \tfrac32 g + \tfrac12) + L + L'

    Args:
        images: Grey or colour images.
        mean: Mean of the layer, on the pixel range [0, 1].
        deviation: Standard deviation of the layer.
        zoom: Enlargement of the layer about its centre, at least 1: size of the flakes in pixels.
        threshold: Value of the layer below which there is no flake.
        radius: Half length of the streaks in pixels.
        sigma: Standard deviation along the streaks in pixels.
        weight: Share :math:`w` of the image itself, 0 to 1; the rest is whitened.
        angle: Direction of the streaks in degrees: 0 is to the right, 90 downwards.
        seeds: One per image.
    """
    check_colours(images)
    mean, threshold = column("mean", mean, images, -math.inf), column("threshold", threshold, images, -math.inf)
    deviation, weight = column("deviation", deviation, images), column("weight", weight, images, high=1.0)
    radius, sigma = column("radius", radius, images), column("sigma", sigma, images, low=1e-6)
    zoom, angle = column("zoom", zoom, images, low=1.0), column("angle", angle, images, -math.inf)
    noise = normal(per_image(seeds, images), images[0, 0].numel(), "snow").to(images.dtype).view_as(images[:, :1])
    layer = enlarge(mean + deviation * noise, zoom)
    flakes = streak(layer.masked_fill(layer < threshold, 0).clamp(0, 1), radius, sigma, angle)
    white = torch.maximum(images, 1.5 * luminance(images) + 0.5)
    return torch.lerp(white, images, weight) + flakes + flakes.flip(2, 3)


def enlarge(layers: Float[Tensor, "B 1 H W"], zoom: Column) -> Float[Tensor, "B 1 H W"]:
    """Enlarges the centre of each layer by its own factor to the size of the whole, bilinearly.

    The part of ``ceil(H / zoom)`` rows is stretched to ``round(H_part * zoom)``, first on first and last on last row,
    and the middle of these is kept; columns likewise.
    """
    for dimension in (2, 3):
        length = layers.shape[dimension]
        part = (torch.full_like(zoom, length) / zoom - TOLERANCE).ceil()
        long = (part * zoom).round()
        first, trim = ((length - part) / 2).floor(), ((long - length) / 2).floor()
        pixel = torch.arange(length, device=layers.device, dtype=layers.dtype)
        source = (first + (pixel + trim) * ((part - 1) / (long - 1))).transpose(dimension, 3)
        low = source.floor().clamp(max=length - 2)
        index = low.long().expand_as(layers)
        layers = torch.lerp(layers.gather(dimension, index), layers.gather(dimension, index + 1), source - low)
    return layers
