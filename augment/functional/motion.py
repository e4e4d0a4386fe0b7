"""Blur by motion along a straight line, at an angle of each image's own."""

from __future__ import annotations

import math

from augment._types import Images
from augment.functional.images import Amount, check_amount, column, on_unit_images
from augment.functional.streak import streak


@on_unit_images
def motion_blur(images: Images, radius: Amount, sigma: Amount, angle: Amount) -> Images:
    r"""Blurs along a line to one side of each pixel, with weights that fall like a Gaussian.

    .. math:: y_p = \sum_{i=0}^{2r} w_i\, x_{p + [i (\cos\theta, \sin\theta)]}, \quad w_i \propto e^{-i^2 / 2 \sigma^2}

    where brackets mean the nearest pixel, and the edge's value is repeated outside.

    Args:
        images: Images of any number of channels, ``uint8`` or in [0, 1].
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
    setting = {"radius": radius, "sigma": sigma, "angle": angle}
    return streak(images, **{name: column(value, images, name) for name, value in setting.items()})
