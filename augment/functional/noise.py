"""Noise: Gaussian, speckle, shot (Poisson) and impulse noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from augment._types import Images, Seeds
from augment.double_precision import in_double
from augment.functional.counter import normal, uniform
from augment.functional.images import Amount, column, on_unit_images, per_image

LARGE = 10.0
"""Rates from which on the expansion is used; it then misses the count, by one, in fewer than 1 of 5,000 draws."""


@on_unit_images
def gaussian_noise(images: Images, scale: Amount, seeds: Seeds) -> Images:
    r"""Adds Gaussian noise, :math:`x + c\,n` with :math:`n \sim \mathcal N(0, 1)` for each value.

    The scale :math:`c \ge 0` is the standard deviation, on the pixel range [0, 1].
    """
    return images + column("scale", scale, images) * _normal_like(images, seeds, "gaussian_noise")


@on_unit_images
def speckle_noise(images: Images, scale: Amount, seeds: Seeds) -> Images:
    r"""Adds Gaussian noise in proportion to each value, :math:`x + x\,c\,n` with :math:`n \sim \mathcal N(0, 1)`.

    The scale :math:`c \ge 0` is the standard deviation, as a share of the value.
    """
    return images + images * column("scale", scale, images) * _normal_like(images, seeds, "speckle_noise")


@on_unit_images
def shot_noise(images: Images, peak: Amount, seeds: Seeds) -> Images:
    r"""Counts photons: :math:`n / c` with :math:`n` from the Poisson distribution of rate :math:`c\,x` for each value.

    The peak :math:`c`, at least 0.001, is the mean count where the image is 1; lower ones are noisier. Gradients treat
    the noise :math:`n / c - x` as constant.
    """
    mean, full = images.detach(), column("peak", peak, images, low=1e-3)
    counts = poisson_quantile(mean * full, _normal_like(images, seeds, "shot_noise"))
    return images + (counts / full - mean)


@on_unit_images
def impulse_noise(images: Images, amount: Amount, seeds: Seeds) -> Images:
    """Sets each value to 0 or to 1 with a probability `amount`, half of it for either (salt-and-pepper noise)."""
    chance = column("amount", amount, images, high=1.0)
    share = uniform(per_image(seeds, images), images[0].numel(), "impulse_noise").view(images.shape).to(images.dtype)
    return torch.where(share < chance, (share < chance / 2).to(images.dtype), images)


def _normal_like(images: Tensor, seeds: Seeds, stream: str) -> Tensor:
    return normal(per_image(seeds, images), images[0].numel(), stream).view(images.shape).to(images.dtype)


def poisson_quantile(rate: Tensor, normal: Tensor) -> Tensor:
    r"""Poisson draws from normal draws: the count :math:`\min \{ n : P(N \le n) \ge \Phi(z) \}`.

    For small rates the probabilities are summed. For large ones the count is the whole part of

    .. math:: \lambda + \sqrt\lambda\, z + \frac{2 + z^2}{6} - \frac{2 z + z^3}{72 \sqrt\lambda}
              + \frac{3 z^4 + 7 z^2 - 16}{810\, \lambda} + \frac{2684 z - 548 z^3 - 207 z^5}{155520\, \lambda^{3/2}}

    Rates :math:`\lambda` are 0 or more, and draws :math:`z` at most 5.8 in size.

    References:
        Giles, *Algorithm 955: approximation of the inverse Poisson cumulative distribution function*, ACM Transactions
        on Mathematical Software 42, 2016, for the expansion at large rates.
    """
    root, square = rate.clamp_min(LARGE).sqrt(), normal * normal
    third = normal * (2684 - square * (548 + 207 * square)) / 155520
    second = (third / root + (square * (3 * square + 7) - 16) / 810) / root
    first = (second - normal * (2 + square) / 72) / root
    count = (rate + root * normal + (2 + square) / 6 + first).floor()
    small = (rate < LARGE).nonzero(as_tuple=True)
    count[small] = _summed(rate[small], normal[small]).to(count)
    return count


def _summed(rate: Tensor, normal: Tensor) -> Tensor:
    """Poisson quantiles by summing probabilities; in float64, which the upper tail needs."""
    rest, rate = torch.special.ndtr(in_double(normal)), in_double(rate)
    each, count = (-rate).exp(), torch.zeros_like(rate)
    most = float(rate.max()) if rate.numel() else 0.0
    for number in range(1, int(most + 6.5 * math.sqrt(most)) + 9):  # no normal draw of 5.8 gives a higher count
        rest.sub_(each)
        count.add_(rest > 0)
        each.mul_(rate).mul_(1 / number)
    return count
