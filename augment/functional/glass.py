"""Blur by frosted glass: pixels take the values of near ones, between two Gaussian blurs."""

from __future__ import annotations

import torch
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.blur import gaussian_blur
from augment.functional.counter import uniform
from augment.functional.images import Amount, by_setting, check_amount, on_unit_images, per_image


@on_unit_images
def glass_blur(images: Images, sigma: Amount, distance: Amount, passes: Amount, seeds: Seeds) -> Images:
    r"""Blurs, displaces pixels by small random amounts, and blurs again.

    A pass visits pixels from the lower right to the upper left; each takes the value that the pixel displaced by
    :math:`U\{-d, \dots, d - 1\}` in either axis has at that moment. Pixels nearer to the rim than d stay.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        sigma: Standard deviation of both blurs, in pixels.
        distance: Farthest displacement d, a whole number of pixels.
        passes: How often pixels are displaced, a whole number.
        seeds: One per image; the same seeds give the same displacements.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or a setting is negative or neither one number nor one per image.
    """
    check_amount("distance", distance)
    check_amount("passes", passes)
    smooth = gaussian_blur(images, sigma)
    seeds = per_image(seeds, images)
    height, width = images.shape[-2:]
    moved = torch.empty_like(images)
    for rows, setting in by_setting(images, distance=distance, passes=passes):
        reach, part = int(setting["distance"]), smooth[rows].flatten(2)
        source = torch.arange(height * width, device=images.device).expand(len(part), -1)
        for turn in range(int(setting["passes"])):
            share = uniform(seeds[rows], 2 * height * width, f"glass_blur {turn}")
            offset = (share * (2 * reach)).long().sub_(reach).view(-1, 2, height, width)
            source = source.gather(1, sequential_copies(offset, reach))
        moved[rows] = part.gather(2, source[:, None].expand_as(part)).unflatten(2, (height, width))
    return gaussian_blur(moved.clamp(0, 1), sigma)


def sequential_copies(offset: Tensor, reach: int) -> Tensor:
    """Where each pixel's value comes from when, one after the other, pixels copy displaced ones.

    Pixels are visited from the lower right to the upper left. One that copies a pixel visited before takes over what
    that one copied, and so on: such chains are followed in doubling steps, so that no pixel waits for another.

    Args:
        offset: Displacements down and to the right, ``[B, 2, H, W]``, between -`reach` and `reach` - 1.
        reach: Pixels of rows and columns up to `reach` and from H - `reach` + 1 or W - `reach` + 1 on stay.

    Returns:
        Positions in the flat image, ``[B, H * W]``.
    """
    count, _, height, width = offset.shape
    place = torch.arange(height * width, device=offset.device)
    row, col = place // width, place % width
    visited = (row > reach) & (row <= height - reach) & (col > reach) & (col <= width - reach)
    down, right = offset.flatten(2).unbind(1)
    target = torch.where(visited, place + down * width + right, place)
    # Positions from `height * width` on mean values after the pass: those of pixels visited earlier.
    follows = (target > place) & visited[target]
    following = torch.where(follows, target + height * width, target)
    while follows.any():
        ends = torch.cat([place.expand(count, -1), following], 1)
        following = ends.gather(1, following)
        follows = following >= height * width
    return following
