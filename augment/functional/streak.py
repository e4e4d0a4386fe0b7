"""Streaks: a layer smeared along a line to one side."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

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
    count, channels, height, width = layers.shape
    last = 2 * radius.ceil()
    reach = int(last.max()) if last.numel() else 0
    step = torch.arange(reach + 1, device=layers.device)
    weight = torch.exp(-0.5 * (step / sigma).square()) * (step <= last)
    weight = (weight / weight.sum(-1, keepdim=True)).to(layers.dtype)
    # In float64, so that no device rounds an offset another way.
    turn = torch.deg2rad(angle.double())
    across, down = ((step * part - 0.5).ceil().long() for part in (turn.cos(), turn.sin()))

    # Whole rows are copied: one index per row, not one per pixel.
    windows = pad(layers, (reach, reach, 0, 0), mode="replicate").unfold(3, width, 1)
    image = torch.arange(count, device=layers.device).view(-1, 1, 1)
    channel = torch.arange(channels, device=layers.device).view(1, -1, 1)
    row = torch.arange(height, device=layers.device)
    smeared = torch.zeros_like(layers)
    for tap in range(reach + 1):
        shifted = windows[image, channel, (row + down[..., tap]).clamp(0, height - 1), across[..., tap] + reach]
        smeared = smeared + weight[..., tap, None] * shifted
    return smeared
