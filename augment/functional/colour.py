"""Brightness, contrast and saturation, computed without converting to another colour space."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images
from augment.functional.images import Amount, check_colours, column, on_unit_images


@on_unit_images
def brightness(images: Images, shift: Amount) -> Images:
    r"""Shifts the value :math:`V = \max_c x_c` of each pixel and keeps its hue and saturation.

    .. math:: V' = \operatorname{clip}(V + s, 0, 1), \quad x'_c = x_c V' / V

    The shift :math:`s` is from -1 to 1. A black pixel becomes the grey :math:`V'`.

    Example:
        >>> pixels = torch.tensor([0.2, 0.4, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        >>> brightness(pixels, 0.2)[0, :, 0, 0]
        tensor([0.3000, 0.6000, 0.0000])
    """
    check_colours(images)
    value = images.amax(1, keepdim=True)
    raised = (value + column("shift", shift, images, low=-1.0, high=1.0)).clamp(0, 1)
    black = value == 0
    return torch.where(black, raised, images * (raised / value.masked_fill(black, 1)))


@on_unit_images
def contrast(images: Images, factor: Amount) -> Images:
    r"""Scales the contrast of each channel about its mean over the image, :math:`x' = m + f (x - m)`.

    A factor :math:`f` of 0 gives a constant colour, 1 the image.
    """
    mean = images.mean((2, 3), keepdim=True)
    return mean + column("factor", factor, images) * (images - mean)


@on_unit_images
def saturate(images: Images, factor: Amount, shift: Amount) -> Images:
    r"""Changes the saturation of each pixel and keeps its hue and value.

    With :math:`V = \max_c x_c`, :math:`D = V - \min_c x_c` and the saturation :math:`S = D / V`:

    .. math:: S' = \operatorname{clip}(a S + b, 0, 1), \quad x'_c = V \left(1 - S' \frac{V - x_c}{D}\right)

    The factor :math:`a` is 0 or more, the shift :math:`b` from -1 to 1. A grey pixel of a colour image has no hue and
    counts as red, so a positive shift reddens it. Images of one channel are not changed.

    Example:
        >>> pixels = torch.tensor([0.2, 0.4, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        >>> saturate(pixels, 0.5, 0.0)[0, :, 0, 0]
        tensor([0.3000, 0.4000, 0.2000])
    """
    check_colours(images)
    factor, shift = column("factor", factor, images), column("shift", shift, images, low=-1.0, high=1.0)
    if images.shape[1] == 1:
        return images
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - least
    grey, black = spread == 0, value == 0
    saturation = (spread / value.masked_fill(black, 1) * factor + shift).clamp(0, 1)
    red = images.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    share = torch.where(grey, red, (value - images) / spread.masked_fill(grey, 1))
    return value * (1 - saturation * share)


def luminance(images: Images) -> Float[Tensor, "B 1 H W"]:
    """Perceived brightness of each pixel; grey images are their own luminance.

    References:
        Recommendation ITU-R BT.601, for the weights of red, green and blue.
    """
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
