"""Fewer pixels: an image shrunk and brought back to its size, without smoothing."""

from __future__ import annotations

import torch
from torch import Tensor

from augment._types import Images
from augment.functional.filters import along_axes
from augment.functional.images import Amount, by_setting, check_amount, on_unit_images


@on_unit_images
def pixelate(images: Images, size: Amount) -> Images:
    r"""Shrinks to :math:`\lfloor c H \rfloor \times \lfloor c W \rfloor` pixels by box means, then repeats each.

    A pixel of the small image is the mean of those pixels whose centres it covers.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        size: Share c of each side's length, from 0 (one pixel) to 1.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `size` is out of its range or neither one number nor one per image.

    Example:
        >>> image = torch.arange(8.0).expand(1, 1, 8, 8) / 8
        >>> pixelate(image, 0.25)[0, 0, 0].mul(8).tolist()
        [1.5, 1.5, 1.5, 1.5, 5.5, 5.5, 5.5, 5.5]
    """
    check_amount("size", size, high=1.0)
    changed = torch.empty_like(images)
    for rows, setting in by_setting(images, size=size):
        down, along = (_means(length, max(1, int(length * setting["size"])), images) for length in images.shape[-2:])
        changed[rows] = along_axes(images[rows], down, along)
    return changed


def _means(length: int, fewer: int, like: Tensor) -> Tensor:
    """Shrinking a line of pixels to fewer and enlarging it again, as one matrix."""
    middle = 2 * torch.arange(length, device=like.device) + 1  # centres, counted in half pixels
    shrunk = (middle * fewer - 1) // (2 * length)  # which small pixel covers a centre; one on the rim counts below
    repeated = middle * fewer // (2 * length)  # which small pixel a pixel shows
    shown = (repeated[:, None] == shrunk).to(like.dtype)
    return shown / shown.sum(1, keepdim=True)
