"""Snow: a whitened image with streaks of flakes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.blur import streak
from augment.functional.colour import luminance
from augment.functional.counter import normal
from augment.functional.images import Amount, Column, check_colours, column, on_unit_images, per_image

TOLERANCE = 1e-4  # pixels by which a quotient in float32 may miss a whole number


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
