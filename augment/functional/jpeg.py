"""Compression by JPEG, by coding and decoding files in memory."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from augment._types import Images
from augment.functional.images import Amount, check_amount, check_colours, column, on_unit_images


@on_unit_images
def jpeg_compression(images: Images, quality: Amount) -> Images:
    """Writes each image as a JPEG file of some quality and reads it back.

    Coded by Pillow on the CPU, one file after the other: torchvision's codec is deprecated since 0.29. No gradient
    passes.

    Args:
        images: Grey or colour images, ``uint8`` or in [0, 1]; rounded to 8 bits.
        quality: Whole number from 1 to 95.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `quality` is out of its range or neither one number nor one per image.
    """
    check_colours(images)
    check_amount("quality", quality, low=1.0, high=95.0)
    levels = column(quality, images, "quality").flatten().expand(len(images)).long().tolist()
    pixels = (images.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    coded = np.stack([_coded(image, level) for image, level in zip(pixels, levels, strict=True)])
    return (torch.from_numpy(coded).permute(0, 3, 1, 2).to(images.dtype) / 255).to(images.device)


def _coded(pixels: np.ndarray, quality: int) -> np.ndarray:
    """One image ``[H, W, C]`` after coding and decoding."""
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image).reshape(pixels.shape)
