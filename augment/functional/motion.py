"""Blur by motion along a straight line, at an angle of each image's own."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import pad

from augment._types import Images
from augment.functional.images import Amount, check_amount, column, on_unit_images


@on_unit_images
def motion_blur(images: Images, radius: Amount, sigma: Amount, angle: Amount) -> Images:
    r"""Blurs along a line to one side of each pixel, with weights that fall like a Gaussian.

    .. math:: y_p = \sum_{i=0}^{2r} w_i\, x_{p + [i (\cos\theta, \sin\theta)]}, \quad w_i \propto e^{-i^2 / 2 \sigma^2}

    where brackets mean the nearest pixel, and the edge's value is repeated outside.

    Args:
        images: Grey or colour images, ``uint8`` or in [0, 1].
        radius: Radius :math:`r` in pixels, a whole number: the line holds 2r + 1 of them.
        sigma: Standard deviation :math:`\sigma` in pixels, above 0.
        angle: Angle :math:`\theta` in degrees: 0 looks to the right, 90 downwards.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, or a setting is out of its range or neither one number nor one per image.
    """
    check_amount("radius", radius)
    check_amount("sigma", sigma, low=1e-6)
    check_amount("angle", angle, low=-math.inf)
    height, width = images.shape[-2:]
    spread = column(sigma, images, "sigma").flatten(1)
    # Weights too small to count in the images' type cost time for nothing.
    telling = spread * math.sqrt(-2 * math.log(torch.finfo(images.dtype).eps))
    last = torch.minimum(2 * column(radius, images, "radius").flatten(1), telling.floor())
    reach = int(last.max())
    step = torch.arange(reach + 1, dtype=images.dtype, device=images.device)
    weights = (-0.5 * (step / spread) ** 2).exp() * (step <= last)
    weights = weights / weights.sum(1, keepdim=True)
    turn = torch.deg2rad(column(angle, images, "angle").flatten(1).double())
    right, down = ((step * share - 0.5).ceil().long() + reach for share in (turn.cos(), turn.sin()))

    # All shifts of each image, as a view: choosing one copies whole rows of pixels.
    shifted = pad(images, [reach] * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    image = torch.arange(len(images), device=images.device)
    blurred = torch.zeros_like(images)
    for weight, x, y in zip(weights.unbind(1), right.unbind(1), down.unbind(1), strict=True):
        blurred = blurred + weight.view(-1, 1, 1, 1) * shifted[image, :, y, x]
    return blurred
