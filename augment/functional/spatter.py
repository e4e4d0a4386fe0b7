"""Spatter: drops of water or mud on the lens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.colour import luminance
from augment.functional.counter import normal
from augment.functional.filters import smooth
from augment.functional.images import Amount, by_setting, check_amount, check_colours, column, on_unit_images, per_image
from augment.functional.relief import relief

WATER = (175 / 255, 238 / 255, 238 / 255)
"""Pale turquoise."""

MUD = (63 / 255, 42 / 255, 20 / 255)
"""Dark brown."""


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
    r"""Puts drops on each image, where smooth noise is high.

    Normal noise is smoothed by a Gaussian of :math:`\sigma` and set to 0 below a threshold :math:`t`. Water is this
    layer times a relief of the drops' edges, scaled to the highest value :math:`s`; it lightens. Mud is where the layer
    is above :math:`t`, smoothed by a Gaussian of :math:`s` pixels and set to 0 below 0.8; it covers. With the mask
    :math:`m` and the colour :math:`k`:

    .. math:: x'_\text{water} = x + m\,k_\text{turquoise}, \quad x'_\text{mud} = (1 - m)\,x + m\,k_\text{brown}

    Grey images get the colours' luminance.

    Args:
        images: Grey or colour images, ``uint8`` or in [0, 1].
        mean: Mean of the noise, on the range [0, 1].
        deviation: Standard deviation of the noise before it is smoothed.
        sigma: Standard deviation of the Gaussian in pixels: size of the drops.
        threshold: Where the layer is lower there is no drop.
        strength: Of water its highest value, on the range [0, 1]; of mud the width of its rim in pixels.
        mud: 1 for mud, 0 for water.
        seeds: One per image; the same seeds give the same drops.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, a setting is out of range or neither one number nor one per image, or `mud`
            is not 0 or 1.
    """
    check_colours(images)
    check_amount("mean", mean, low=-math.inf)
    check_amount("threshold", threshold, low=-math.inf)
    for name, value in (("deviation", deviation), ("sigma", sigma), ("strength", strength)):
        check_amount(name, value)

    def setting(value: Amount, name: str) -> Float[Tensor, "#B 1 1 1"]:
        return column(value, images, name)

    muddy, bound, much = setting(mud, "mud"), setting(threshold, "threshold"), setting(strength, "strength")
    noise = normal(per_image(seeds, images), images[0, 0].numel(), "spatter").to(images.dtype).view_as(images[:, :1])
    noise = setting(mean, "mean") + setting(deviation, "deviation") * noise
    layer = smooth(noise, setting(sigma, "sigma"), truncate=4.0, border="edge")
    layer = layer.masked_fill(layer < bound, 0).clamp(0, 1)
    mask = torch.empty_like(layer)
    for rows, kind in by_setting(images, mud=mud):
        each = [value[rows] if len(value) > 1 else value for value in (bound, much)]
        if kind["mud"] == 0:
            mask[rows] = each[1] * relief(layer[rows])
        elif kind["mud"] == 1:
            blob = smooth((layer[rows] > each[0]).to(images.dtype), each[1], truncate=4.0, border="edge")
            mask[rows] = blob.masked_fill(blob < 0.8, 0)
        else:
            raise ValueError(f"mud must be 0 for water or 1 for mud, got {kind['mud']:g}")
    water_colour, mud_colour = (images.new_tensor(colour).view(1, 3, 1, 1) for colour in (WATER, MUD))
    colour = torch.where(muddy == 1, mud_colour, water_colour)
    if images.shape[1] == 1:
        colour = luminance(colour)
    return images * (1 - muddy * mask) + mask * colour
