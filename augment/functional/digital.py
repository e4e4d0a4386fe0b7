"""JPEG compression and pixelation."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from augment._types import Images
from augment.functional.filters import along_axes
from augment.functional.images import Amount, by_setting, check_amount, check_colours, column, on_unit_images

WEIGHT_BITS = 22  # fractional bits of Pillow's weights for 8-bit images


@on_unit_images
def jpeg_compression(images: Images, quality: Amount) -> Images:
    """Compresses each image as JPEG and decodes it again; without gradient.

    Pillow does so on the CPU, one image after the other: torchvision's codec is deprecated since 0.29. Images, grey or
    colour, are rounded to 8 bits; the quality is a whole number from 1 to 95.
    """
    check_colours(images)
    qualities = column("quality", quality, images, low=1.0, high=95.0).flatten()
    levels = qualities.expand(len(images)).long().tolist()
    pixels = (images.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    coded = np.stack([_coded(image, level) for image, level in zip(pixels, levels, strict=True)])
    return (torch.from_numpy(coded).permute(0, 3, 1, 2).to(images.dtype) / 255).to(images.device)


def _coded(pixels: np.ndarray, quality: int) -> np.ndarray:
    """One image ``[H, W, C]`` after compression."""
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image).reshape(pixels.shape)


@on_unit_images
def pixelate(images: Images, size: Amount) -> Images:
    r"""Shrinks to :math:`\lfloor c H \rfloor \times \lfloor c W \rfloor` pixels by box means, then repeats each pixel.

    The size :math:`c` is a share of each side's length, from 0 (one pixel) to 1. A pixel of the small image is the mean
    of the pixels whose centres it covers. 8-bit images (``uint8``, or all values multiples of 1/255) are rounded to 8
    bits after rows and after columns, as in Pillow and the published program; gradients treat the rounding as constant.
    Other images are not rounded.

    Example:
        >>> image = torch.arange(8.0).expand(1, 1, 8, 8) / 8
        >>> pixelate(image, 0.25)[0, 0, 0].mul(8).tolist()
        [1.5, 1.5, 1.5, 1.5, 5.5, 5.5, 5.5, 5.5]
    """
    check_amount("size", size, high=1.0)
    changed = torch.empty_like(images)
    levels = (images.detach() * 255).round()
    bytes_ = (levels / 255 == images).flatten(1).all(1).view(-1, 1, 1, 1)
    for rows, setting in by_setting(images, size=size):
        sizes = ((length, max(1, int(length * setting["size"]))) for length in images.shape[-2:])
        # Shrinking a line and enlarging it again: 1 for each pixel in a box, unnormalised.
        down, along = ((_box(fewer, length) @ _box(length, fewer)).to(images) for length, fewer in sizes)
        means = along_axes(images[rows], *(boxes / boxes.sum(1, keepdim=True) for boxes in (down, along)))
        rounded = _rounded_means(_rounded_means(levels[rows], along).mT, down).mT / 255
        changed[rows] = torch.where(bytes_[rows], rounded + (means - means.detach()), means)
    return changed


def _rounded_means(levels: Tensor, boxes: Tensor) -> Tensor:
    """Means of whole numbers along rows in Pillow's arithmetic, with weights that are multiples of 2**-22."""
    members = boxes.sum(1).long()
    weights = ((2 << WEIGHT_BITS) + members) // (2 * members)
    totals = (levels @ boxes.mT).long()  # exact, as they have few bits
    return ((totals * weights + (1 << WEIGHT_BITS - 1)) >> WEIGHT_BITS).to(levels.dtype)


def _box(length: int, other: int) -> Tensor:
    """Which pixels of a line each pixel covers after resizing, ``[other, length]``, in Pillow's arithmetic.

    In double precision, as in Pillow, since rounding decides about centres that lie on the border of a box.
    """
    scale = length / other
    wide = max(scale, 1.0)
    centre = (torch.arange(other, dtype=torch.float64)[:, None] + 0.5) * scale
    pixel = torch.arange(length)
    inside = (pixel >= (centre - 0.5 * wide + 0.5).long()) & (pixel < (centre + 0.5 * wide + 0.5).long())
    offset = (pixel - centre + 0.5) * (1 / wide)
    return (inside & (offset > -0.5) & (offset <= 0.5)).float()
