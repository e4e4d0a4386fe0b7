"""Blur by zooming while the shutter is open."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor

from augment._types import Images
from augment.functional.filters import along_axes
from augment.functional.images import Amount, by_setting, check_amount, on_unit_images


@on_unit_images
def zoom_blur(images: Images, largest: Amount, step: Amount) -> Images:
    r"""Averages an image and its zooms about the centre by 1, 1 + s, 1 + 2s, … up to the largest.

    A zoom by z enlarges the middle :math:`\lceil H / z \rceil \times \lceil W / z \rceil` pixels bilinearly, end points
    on end points.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        largest: Largest factor, 1 or more.
        step: Step s between factors, 0.001 or more.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or a setting is out of its range or neither one number nor one per image.
    """
    check_amount("largest", largest, low=1.0)
    check_amount("step", step, low=1e-3)
    changed = torch.empty_like(images)
    for rows, setting in by_setting(images, largest=largest, step=step):
        count = math.floor((setting["largest"] - 1) / setting["step"] + 1e-6) + 1
        factors = [1 + number * setting["step"] for number in range(count)]
        several = Counter(tuple(_crop(length, factor) for length in images.shape[-2:]) for factor in factors)
        part = images[rows]
        total = part
        for crops, times in several.items():  # several factors may give one crop
            down, along = (_enlarge(length, *crop, part) for length, crop in zip(part.shape[-2:], crops, strict=True))
            total = total + times * along_axes(part, down, along)
        changed[rows] = total / (count + 1)
    return changed


def _crop(length: int, factor: float) -> tuple[int, int]:
    """Pixels that are taken from a line, and how many they become; halves count up, whatever rounding left of them."""
    taken = math.ceil(length / factor - 1e-9)
    return taken, math.floor(taken * factor + 0.5 + 1e-9)


def _enlarge(length: int, taken: int, enlarged: int, like: Tensor) -> Tensor:
    """Bilinear enlargement of the middle of a line as a matrix; what stands out at the ends is cut off."""
    pixel = torch.arange(length, dtype=like.dtype, device=like.device)
    source = (length - taken) // 2 + (pixel + (enlarged - length) // 2) * ((taken - 1) / (enlarged - 1))
    return (1 - (source[:, None] - pixel).abs()).clamp_min(0)
