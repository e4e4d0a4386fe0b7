"""Noise: each value moved by a draw of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.counter import normal, uniform
from augment.functional.images import Amount, check_amount, column, on_unit_images, per_image
from augment.functional.poisson import poisson_quantile


@on_unit_images
def gaussian_noise(images: Images, scale: Amount, seeds: Seeds) -> Images:
    r"""Adds normal noise, :math:`x + c\,n` with :math:`n \sim \mathcal N(0, 1)` for each value.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        scale: Standard deviation :math:`c \ge 0`, on the range [0, 1].
        seeds: One per image; the same seeds give the same noise.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `scale` is negative or neither one number nor one per image.
    """
    check_amount("scale", scale)
    return images + column(scale, images, "scale") * _normal_like(images, seeds, "gaussian_noise")


@on_unit_images
def speckle_noise(images: Images, scale: Amount, seeds: Seeds) -> Images:
    r"""Adds normal noise in proportion to each value, :math:`x + x\,c\,n` with :math:`n \sim \mathcal N(0, 1)`.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        scale: Standard deviation :math:`c \ge 0`, as a share of the value.
        seeds: One per image; the same seeds give the same noise.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `scale` is negative or neither one number nor one per image.
    """
    check_amount("scale", scale)
    return images + images * column(scale, images, "scale") * _normal_like(images, seeds, "speckle_noise")


@on_unit_images
def shot_noise(images: Images, peak: Amount, seeds: Seeds) -> Images:
    r"""Counts photons, :math:`n / c` with :math:`n` from the Poisson distribution of rate :math:`c\,x` for each value.

    Gradients take the noise :math:`n / c - x` as given.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        peak: Mean count :math:`c > 0` where the image is 1; fewer make more noise.
        seeds: One per image; the same seeds give the same noise.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `peak` is not above 0 or neither one number nor one per image.
    """
    check_amount("peak", peak, low=1e-3)
    mean, full = images.detach(), column(peak, images, "peak")
    counts = poisson_quantile(mean * full, _normal_like(images, seeds, "shot_noise"))
    return images + (counts / full - mean)


@on_unit_images
def impulse_noise(images: Images, amount: Amount, seeds: Seeds) -> Images:
    """Sets values to 0 or 1, each by its own chance, half of them to either.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        amount: Chance of a value to be lost, from 0 to 1.
        seeds: One per image; the same seeds give the same noise.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `amount` is out of its range or neither one number nor one per image.
    """
    check_amount("amount", amount, high=1.0)
    chance = column(amount, images, "amount")
    share = uniform(per_image(seeds, images), images[0].numel(), "impulse_noise").view(images.shape).to(images.dtype)
    return torch.where(share < chance, (share < chance / 2).to(images.dtype), images)


def _normal_like(images: Tensor, seeds: Seeds, stream: str) -> Tensor:
    return normal(per_image(seeds, images), images[0].numel(), stream).view(images.shape).to(images.dtype)
