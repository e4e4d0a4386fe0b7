"""Fog: a plasma fractal added to the image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.counter import uniform
from augment.functional.images import Amount, column, on_unit_images, per_image


@on_unit_images
def fog(images: Images, amount: Amount, decay: Amount, seeds: Seeds) -> Images:
    r"""Adds fog of its own to each image, rescaled such that the brightest value stays the same.

    .. math:: x' = \frac{m}{m + a} (x + a F), \quad m = \max x

    :math:`F` is the upper left part of a :func:`plasma`, the same for all channels.

    Args:
        images: Images.
        amount: Density :math:`a \ge 0` of the fog.
        decay: Decay of the fractal, at least 1; the higher, the smoother the fog.
        seeds: One per image.
    """
    height, width = images.shape[2:]
    density, decay = column("amount", amount, images), column("decay", decay, images, low=1.0)
    size = 1 << (max(height, width) - 1).bit_length()
    cloud = plasma(per_image(seeds, images), size, decay[:, 0].float())[:, None, :height, :width].to(images.dtype)
    brightest = images.amax((1, 2, 3), keepdim=True)
    # A black image stays black, also where the density is 0.
    return (images + density * cloud) * (brightest / (brightest + density).clamp(min=torch.finfo(images.dtype).tiny))


def plasma(seeds: Seeds, size: int, decay: Float[Tensor, "#B 1 1"]) -> Float[Tensor, "B N N"]:
    r"""Fractals by the diamond-square method on a torus, stretched to [0, 1].

    Starting from a single point, each level :math:`l` sets the middle of every square of points to the mean of its four
    corners, then the middle of every side to the mean of its two ends and the two nearest middles of squares, each plus
    a uniform number in :math:`\pm d^{-2l}`.

    Args:
        seeds: One per fractal.
        size: Height and width, a power of two.
        decay: Decay :math:`d`, one for all or one per fractal. The published program multiplies its amplitude into the
            noise twice, hence the square.

    References:
        Fournier, Fussell and Carpenter, *Computer rendering of stochastic models*, 1982.
    """
    noise = uniform(seeds, size * size, "fog").mul_(2).sub_(1)
    points = noise.new_zeros(len(seeds), 1, 1)
    amplitude, used = torch.ones_like(decay), 0
    while (count := points.shape[1]) < size:
        moves = noise[:, used : used + 3 * count * count].view(-1, 3, count, count) * amplitude[:, None]
        beside, below = points.roll(-1, 2), points.roll(-1, 1)
        middle = (points + beside + below + below.roll(-1, 2)) / 4 + moves[:, 0]
        top = (points + beside + middle + middle.roll(1, 1)) / 4 + moves[:, 1]
        left = (points + below + middle + middle.roll(1, 2)) / 4 + moves[:, 2]
        rows = [torch.stack([points, top], 3), torch.stack([left, middle], 3)]
        points = torch.stack(rows, 2).view(-1, 2 * count, 2 * count)
        amplitude, used = amplitude / decay.square(), used + 3 * count * count
    low, high = points.amin((1, 2), keepdim=True), points.amax((1, 2), keepdim=True)
    return (points - low) / (high - low)
