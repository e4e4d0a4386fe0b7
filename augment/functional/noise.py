"""Noise: each value moved by a draw of its own."""

from __future__ import annotations

from augment._types import Images, Seeds
from augment.functional.counter import normal
from augment.functional.images import Amount, column, on_unit_images


@on_unit_images
def gaussian_noise(images: Images, scale: Amount, seeds: Seeds) -> Images:
    r"""Adds normal noise, :math:`x + c\,n` with :math:`n \sim \mathcal N(0, 1)` for each value.

    Args:
        images: Grey or colour images, ``uint8`` or in [0, 1].
        scale: Standard deviation :math:`c`, on the range [0, 1].
        seeds: One per image; the same seeds give the same noise.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `scale` is neither one number nor one per image.
    """
    noise = normal(seeds.to(images.device), images[0].numel(), "gaussian_noise").view(images.shape).to(images.dtype)
    return images + column(scale, images, "scale") * noise
