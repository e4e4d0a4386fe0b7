"""Snow: flakes driven by the wind over a whitened image."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.blur import streak
from augment.functional.colour import luminance
from augment.functional.counter import normal
from augment.functional.images import Amount, check_amount, check_colours, column, on_unit_images, per_image

SHORT = 1e-4
"""By how many pixels a quotient in float32 may miss the whole number that it stands for."""


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
    r"""Whitens each image and lets flakes fall over it, from two sides.

    A grey layer of normal noise is enlarged, set to 0 below a threshold and smeared along the wind to :math:`L`; with
    :math:`g` the luminance and :math:`L'` the layer turned by 180 degrees:

    .. math:: x' = w x + (1 - w) \max(x, \tfrac32 g + \tfrac12) + L + L'

    Args:
        images: Grey or colour images, ``uint8`` or in [0, 1].
        mean: Mean of the layer, on the range [0, 1].
        deviation: Standard deviation of the layer.
        zoom: Enlargement of the layer about its centre, at least 1: size of the flakes in pixels.
        threshold: Where the layer is lower there is no flake.
        radius: Half length of the streaks in pixels.
        sigma: Standard deviation along the streaks in pixels.
        weight: Share :math:`w` of the image in its own whitening, 0 to 1.
        angle: Direction of the streaks in degrees, from the right on, downwards positive: -90 points up.
        seeds: One per image; the same seeds give the same flakes.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or a setting is out of range or neither one number nor one per image.
    """
    check_colours(images)
    check_amount("mean", mean, low=-math.inf)
    check_amount("threshold", threshold, low=-math.inf)
    for name, value in (("deviation", deviation), ("radius", radius)):
        check_amount(name, value)
    check_amount("zoom", zoom, low=1.0)
    check_amount("sigma", sigma, low=1e-6)
    check_amount("weight", weight, high=1.0)
    check_amount("angle", angle, low=-math.inf)

    def setting(value: Amount, name: str) -> Float[Tensor, "#B 1 1 1"]:
        return column(value, images, name)

    kept = setting(weight, "weight")
    noise = normal(per_image(seeds, images), images[0, 0].numel(), "snow").to(images.dtype).view_as(images[:, :1])
    layer = enlarge(setting(mean, "mean") + setting(deviation, "deviation") * noise, setting(zoom, "zoom"))
    flakes = layer.masked_fill(layer < setting(threshold, "threshold"), 0).clamp(0, 1)
    flakes = streak(flakes, setting(radius, "radius"), setting(sigma, "sigma"), setting(angle, "angle"))
    white = torch.maximum(images, 1.5 * luminance(images) + 0.5)
    return torch.lerp(white, images, kept) + flakes + flakes.flip(2, 3)


def enlarge(layers: Float[Tensor, "B 1 H W"], zoom: Float[Tensor, "#B 1 1 1"]) -> Float[Tensor, "B 1 H W"]:
    """Enlarges the centre of each layer by its own factor to the size of the whole, bilinearly.

    The part of ``ceil(H / zoom)`` rows is stretched to ``round(H_part * zoom)``, first on first and last on last row,
    and the middle of these is kept; columns likewise.
    """
    for dimension in (2, 3):
        length = layers.shape[dimension]
        part = (torch.full_like(zoom, length) / zoom - SHORT).ceil()
        long = (part * zoom).round()
        first, trim = ((length - part) / 2).floor(), ((long - length) / 2).floor()
        place = torch.arange(length, device=layers.device, dtype=layers.dtype)
        source = (first + (place + trim) * ((part - 1) / (long - 1))).transpose(dimension, 3)
        low = source.floor().clamp(max=length - 2)
        index = low.long().expand_as(layers)
        layers = torch.lerp(layers.gather(dimension, index), layers.gather(dimension, index + 1), source - low)
    return layers
