r"""Separable filters as matrices, :math:`R\,x\,C^\top`, which include the border rule.

For images of the usual sizes two matrix products are faster than a convolution, and matrices may differ between images.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from augment.double_precision import in_double

Border = Literal["edge", "reflect", "symmetric"]
"""Padding by NumPy's names: the edge's value repeated, or the image mirrored about the centres of its edge pixels
(``"reflect"``) or about their outer sides (``"symmetric"``)."""


def along_axes(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Filters images by matrices ``[H, H]`` or ``[B, 1, H, H]``, and ``[W, W]`` or ``[B, 1, W, W]``."""
    if images.is_cuda:  # where products in float32 may be rounded to 11 bits
        return (rows.double() @ images.double() @ columns.double().mT).to(images.dtype)
    return rows @ images @ columns.mT


def filter_matrix(weights: Tensor, length: int, border: Border) -> Tensor:
    """Filters ``[..., 2r + 1]`` along a line of pixels as matrices ``[..., length, length]``.

    Row i holds the weight of each pixel in the result's pixel i.
    """
    taps = weights.shape[-1]
    pixel = torch.arange(length, device=weights.device)
    padded = torch.arange(-(taps // 2), length + taps // 2, device=weights.device)
    tap = padded - pixel[:, None] + taps // 2
    extended = weights[..., tap.clamp(0, taps - 1)] * ((tap >= 0) & (tap < taps))
    if border == "edge":
        inside = padded.clamp(0, length - 1)
    elif border == "reflect":
        inside = padded.abs() % (2 * length - 2)
        inside = torch.minimum(inside, 2 * length - 2 - inside)
    else:
        inside = padded % (2 * length)
        inside = torch.minimum(inside, 2 * length - 1 - inside)
    return extended @ torch.eye(length, dtype=weights.dtype, device=weights.device)[inside]


def gaussian_weights(sigma: Tensor, radius: Tensor) -> Tensor:
    r"""Gaussian filters :math:`w_t \propto e^{-t^2 / 2 \sigma^2}` for :math:`|t| \le r`, scaled to sum 1.

    Standard deviations in pixels, of which 0 gives the identity, and whole numbers :math:`r` have the same shape;
    weights are ``[..., 2 r_max + 1]``.
    """
    reach = int(radius.max())
    tap = torch.arange(-reach, reach + 1, dtype=sigma.dtype, device=sigma.device)
    weights = (-0.5 * (tap / sigma.clamp_min(1e-6)[..., None]) ** 2).exp() * (tap.abs() <= radius[..., None])
    return weights / weights.sum(-1, keepdim=True)


def smooth(layers: Tensor, sigma: Tensor, *, truncate: float, border: Border) -> Tensor:
    """Convolves layers ``[B, C, H, W]`` with a Gaussian that is truncated at some standard deviations and sums to one.

    Standard deviations are in pixels, ``[B, 1, 1, 1]``, or ``[1, 1, 1, 1]`` for all; 0 changes nothing.
    """
    # In float64, as matrix products in float32 depend on the batch, and on GPUs may be rounded to 11 bits.
    wide = in_double(sigma)[..., 0, 0]
    weights = gaussian_weights(wide, (truncate * wide + 0.5).floor())
    rows, columns = (filter_matrix(weights, length, border) for length in layers.shape[2:])
    return along_axes(in_double(layers), rows, columns).to(layers)
