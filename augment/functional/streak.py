"""Streaks: layers smeared along a line to one side."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from augment.double_precision import in_double

Column = Float[Tensor, "#B 1 1 1"]


def streak(layers: Float[Tensor, "B C H W"], radius: Column, sigma: Column, angle: Column) -> Float[Tensor, "B C H W"]:
    r"""Weighs the pixels on a ray from each pixel by one half of a Gaussian.

    .. math:: y_p = \sum_{i=0}^{2r} w_i\, x_{p + o_i}, \quad w_i \propto e^{-i^2 / 2 \sigma^2}, \quad
              o_i = \lceil i (\cos\alpha, \sin\alpha) - 1/2 \rceil

    Beyond the border the last pixel is repeated.

    Args:
        layers: Layers of any range.
        radius: Half length :math:`r` of the ray in pixels, rounded up; it and the rest are one for all, or one each.
        sigma: Standard deviation in pixels.
        angle: Direction in degrees, from the right on, downwards positive.

    Returns:
        The smeared layers.
    """
    height, width = layers.shape[2:]
    spread = sigma.flatten(1)
    # Weights too small to count in the layers' type cost time for nothing.
    telling = spread * math.sqrt(-2 * math.log(torch.finfo(layers.dtype).eps))
    last = torch.minimum(2 * radius.ceil().flatten(1), telling.floor())
    reach = int(last.max())
    step = torch.arange(reach + 1, dtype=layers.dtype, device=layers.device)
    weights = (-0.5 * (step / spread) ** 2).exp() * (step <= last)
    weights = (weights / weights.sum(1, keepdim=True)).expand(len(layers), -1)
    # In float64, so that no device rounds an offset another way.
    turn = torch.deg2rad(in_double(angle.flatten(1))).expand(len(layers), 1)
    along = in_double(step)
    right, down = ((along * share - 0.5).ceil().long().to(layers.device) + reach for share in (turn.cos(), turn.sin()))

    # All shifts of each image, as a view: choosing one copies whole rows of pixels.
    shifted = pad(layers, [reach] * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    image = torch.arange(len(layers), device=layers.device)
    smeared = torch.zeros_like(layers)
    for weight, x, y in zip(weights.unbind(1), right.unbind(1), down.unbind(1), strict=True):
        smeared = smeared + weight.view(-1, 1, 1, 1) * shifted[image, :, y, x]
    return smeared
