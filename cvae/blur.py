"""Gaussian blur: how images look from further away."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae._types import Images


def blurred(images: Images, width: float) -> Images:
    r"""Each pixel becomes a mean of its surroundings, weighted by a Gaussian of their distance.

    .. math:: \tilde x_p = \frac{\sum_q k(p - q)\, x_q}{\sum_q k(p - q)}, \qquad k(d) = e^{-\|d\|^2 / 2 w^2}

    The sums are over the pixels of the image, so that a constant image stays as it is and none leaves [0, 1]. They are
    two products with a matrix each, one along the columns and one along the rows.

    Args:
        images: Images in [0, 1].
        width: Standard deviation :math:`w > 0` of the Gaussian, in pixels.

    Returns:
        Images in [0, 1], at least in single precision; differentiable.

    Example:
        >>> points = torch.zeros(1, 1, 5, 5)
        >>> points[0, 0, 2, 2] = 1
        >>> (100 * blurred(points, 0.5)[0, 0, 2]).round()
        tensor([ 0.,  8., 62.,  8.,  0.])
    """
    with torch.autocast(images.device.type, enabled=False):  # a mean in half precision may leave [0, 1] visibly
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        rows, columns = (_means(images, length, width) for length in images.shape[-2:])
        return (rows @ images @ columns.T).clamp(0, 1)


def _means(like: Tensor, length: int, width: float) -> Tensor:
    """The weights of each pixel of a line, ``[length, length]``."""
    place = torch.arange(length, dtype=like.dtype, device=like.device)
    return (-0.5 * ((place[:, None] - place) / width).square()).softmax(1)
