"""Gaussian smoothing as two matrix products, one for the rows and one for the columns."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Border = Literal["edge", "mirror"]
"""What lies outside: the last value again, or the layer mirrored at its edge."""


def smooth(
    layers: Float[Tensor, "B C H W"], sigma: Float[Tensor, "#B 1 1 1"], *, truncate: float, border: Border
) -> Float[Tensor, "B C H W"]:
    r"""Convolves with a Gaussian that is cut off and sums to one.

    Args:
        layers: Layers of any range.
        sigma: Standard deviation in pixels, one for all or one per layer; 0 changes nothing.
        truncate: Where the Gaussian is cut off, in standard deviations.
        border: What lies outside.

    Returns:
        The smooth layers.
    """
    # In float64, as matrix products in float32 depend on the batch, and on GPUs may be rounded to 11 bits.
    rows, columns = (gaussian_matrix(length, sigma.double(), truncate, border) for length in layers.shape[2:])
    return (rows @ layers.double() @ columns.mT).to(layers.dtype)


def gaussian_matrix(
    length: int, sigma: Float[Tensor, "#B 1 1 1"], truncate: float, border: Border
) -> Float[Tensor, "#B 1 L L"]:
    """The smoothing of a line of `length` values as a matrix, borders included."""
    radius = (truncate * sigma + 0.5).floor()
    reach = int(radius.max()) if radius.numel() else 0
    offset = torch.arange(-reach, reach + 1, device=sigma.device)
    weight = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-6)).square()) * (offset.abs() <= radius)
    weight = weight / weight.sum(-1, keepdim=True)
    source = torch.arange(length, device=sigma.device)[:, None] + offset
    if border == "edge":
        source = source.clamp(0, length - 1)
    else:
        source = source % (2 * length)
        source = torch.minimum(source, 2 * length - 1 - source)
    shape = (len(sigma), 1, *source.shape)
    empty = weight.new_zeros(len(sigma), 1, length, length)
    return empty.scatter_add(3, source.expand(shape), weight.expand(shape))
