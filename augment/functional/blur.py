"""Blurs that are the same everywhere in an image: by a Gaussian, and by a lens out of focus."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from augment._types import Images
from augment.functional.filters import along_axes, filter_matrix, gaussian_weights
from augment.functional.images import Amount, by_setting, check_amount, column, on_unit_images


@on_unit_images
def gaussian_blur(images: Images, sigma: Amount) -> Images:
    r"""Blurs by a Gaussian, truncated at four standard deviations; outside, the edge's value is repeated.

    .. math:: y_p = \sum_q w_{q_1} w_{q_2}\, x_{p + q}, \quad w_t \propto e^{-t^2 / 2 \sigma^2}

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        sigma: Standard deviation :math:`\sigma \ge 0`, in pixels.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or `sigma` is negative or neither one number nor one per image.

    Example:
        >>> image = torch.zeros(1, 1, 9, 9)
        >>> image[0, 0, 4, 4] = 1
        >>> [round(value, 4) for value in gaussian_blur(image, 1.0)[0, 0, 4, 4:].tolist()]
        [0.1592, 0.0965, 0.0215, 0.0018, 0.0001]
    """
    check_amount("sigma", sigma)
    width = column(sigma, images, "sigma")[:, 0, 0]  # [B or 1, 1]: every channel has the same filter
    weights = gaussian_weights(width, (4 * width + 0.5).floor())
    height, length = images.shape[-2:]
    return along_axes(images, filter_matrix(weights, height, "edge"), filter_matrix(weights, length, "edge"))


@on_unit_images
def defocus_blur(images: Images, radius: Amount, sigma: Amount) -> Images:
    r"""Blurs as a lens out of focus does: by a disk, whose rim a narrow Gaussian softens; borders are mirrored.

    The kernel is symmetric, :math:`K = \sum_k \lambda_k q_k q_k^\top`, so it is a sum of few filters along rows and
    columns.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
        radius: Radius of the disk, in pixels.
        sigma: Standard deviation of the Gaussian, in pixels; its window has 3×3 pixels, above radius 8 it has 5×5.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or a setting is negative or neither one number nor one per image.
    """
    check_amount("radius", radius)
    check_amount("sigma", sigma)
    changed = torch.empty_like(images)
    for rows, setting in by_setting(images, radius=radius, sigma=sigma):
        share, axes = torch.linalg.eigh(disk_kernel(setting["radius"], setting["sigma"]))
        kept = share.abs() > share.abs().max() * torch.finfo(images.dtype).eps
        down, along = (
            filter_matrix(axes.mT[kept], length, "reflect").to(images.device, images.dtype)
            for length in images.shape[-2:]
        )
        parts = zip(share[kept].tolist(), down, along, strict=True)
        part = images[rows]
        changed[rows] = sum(size * along_axes(part, matrix, other) for size, matrix, other in parts)
    return changed


def disk_kernel(radius: float, sigma: float) -> Tensor:
    """A disk of sum 1 on the grid of pixels, its rim softened by a Gaussian.

    Args:
        radius: Radius, in pixels.
        sigma: Standard deviation of the Gaussian, in pixels.

    Returns:
        Kernel in float64, of odd size.
    """
    half = max(8, math.ceil(radius))
    offset = torch.arange(-half, half + 1, dtype=torch.float64)
    disk = (offset**2 + offset[:, None] ** 2 <= radius**2).double()
    window = torch.tensor(1 if radius <= 8 else 2)
    smooth = filter_matrix(gaussian_weights(offset.new_tensor(sigma), window), len(offset), "reflect")
    return along_axes(disk / disk.sum(), smooth, smooth)
