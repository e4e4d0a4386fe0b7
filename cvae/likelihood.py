"""Likelihoods of changed images given the generator's output, and the links that keep generated images in [0, 1].

Both likelihoods depend on generated and changed image through one number per image, its *statistic* (squared error or
cross-entropy). So statistics of a pass over the data give the log-likelihood once the scale is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvae._types import Images, PerImage

HALF_GREY_LEVEL = 1 / 510
"""Half of the distance between two grey levels of an 8-bit image on [0, 1]."""

Link = Callable[[Tensor, Tensor], Tensor]
"""Adds a change to images, ``(images, change)``, such that they stay in [0, 1]."""


class GaussianLikelihood(nn.Module):
    r"""Independent Gaussian pixels that share one scale.

    .. math:: \ln p(\tilde x \mid z, x) = -\frac{\|\tilde x - g\|^2}{2 s^2} - \frac m2 \ln 2\pi s^2,
        \qquad s = \max\Big(\sqrt{\tfrac1m\, \mathbb E\|\tilde x - g\|^2},\ s_{\min}\Big)

    with :math:`m` the number of pixels times channels. The scale is the closed-form maximiser: learned by gradient it
    lags far behind the error. The floor bounds the likelihood of constant backgrounds.

    Args:
        floor: Smallest scale :math:`s_{\min} > 0`, on the pixel range [0, 1].

    Raises:
        ValueError: If the floor is not positive.

    References:
        Rybkin, Daniilidis and Levine, *Simple and effective VAE training with calibrated decoders*, 2021, equation 4.
    """

    scale: Tensor

    def __init__(self, floor: float = HALF_GREY_LEVEL) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"floor must be above 0 (the default is half a grey level, 1/510), got {floor}")
        self.floor = floor
        self.register_buffer("scale", torch.ones(()))

    def statistic(self, generated: Images, changed: Images) -> PerImage:
        """Squared error of each image, summed over its pixels."""
        return (generated - changed).square().flatten(1).sum(1)

    def calibrate(self, error: Tensor, pixels: int) -> None:
        """Sets the scale to its closed form from a squared error, summed over pixels and averaged over images."""
        self.scale.copy_((error.detach() / pixels).sqrt().clamp_min(self.floor))

    def log_prob(self, statistic: PerImage, pixels: int) -> PerImage:
        """Log-likelihood in nats from squared errors."""
        scale = self.scale.to(statistic.device)  # statistics in float64 may be on the CPU
        return -statistic / (2 * scale.square()) - pixels * (scale.log() + 0.5 * math.log(2 * math.pi))


class BernoulliLikelihood(nn.Module):
    r"""Independent Bernoulli pixels whose probability is the generator's output.

    .. math:: \ln p(\tilde x \mid z, x) = \sum_i \tilde x_i \ln g_i + (1 - \tilde x_i) \ln(1 - g_i)

    For grey values between 0 and 1 this is no density on [0, 1]: compare it only with other Bernoulli likelihoods.
    """

    def statistic(self, generated: Images, changed: Images) -> PerImage:
        """Binary cross-entropy of each image, summed over its pixels."""
        wide = torch.promote_types(generated.dtype, torch.float32)
        with torch.autocast(generated.device.type, enabled=False):  # torch refuses it in half precision
            entropy = F.binary_cross_entropy(generated.to(wide), changed.to(wide), reduction="none")
        return entropy.flatten(1).sum(1)

    def calibrate(self, error: Tensor, pixels: int) -> None:
        """Does nothing: this likelihood has no scale."""

    def log_prob(self, statistic: PerImage, pixels: int) -> PerImage:
        """Log-likelihood in nats from cross-entropies."""
        return -statistic


def add(images: Tensor, change: Tensor) -> Tensor:
    r"""Adds a change in pixel values; the value is clipped to [0, 1], the gradient is not.

    .. math:: g = \operatorname{clip}_{[0,1]}(x + r), \qquad \partial g / \partial r := 1

    With this gradient the squared error to an image in [0, 1] never pushes a clipped pixel further out. A change of 0
    gives the images themselves.

    Example:
        >>> r = torch.tensor([-0.5, 0.25]).requires_grad_()
        >>> g = add(torch.tensor([0.0, 0.5]), r)
        >>> g.tolist(), torch.autograd.grad(g.sum(), r)[0].tolist()
        ([0.0, 0.75], [1.0, 1.0])
    """
    raw = images + change
    kept = raw.clamp(0, 1)
    excess = raw - kept
    return kept + (excess - excess.detach())  # the bracket is exactly 0: it carries the gradient alone


def add_logits(images: Tensor, change: Tensor) -> Tensor:
    r"""Adds a change to the logits of pixels, the link of a Bernoulli likelihood.

    .. math:: g = \operatorname{sigmoid}\big(\operatorname{logit} x + r\big)

    The gradient of the cross-entropy to :math:`\tilde x` is then :math:`g - \tilde x`. Images are first clipped to half
    a grey level from 0 and 1, so a change of 0 gives the images up to that.
    """
    return torch.sigmoid(images.logit(HALF_GREY_LEVEL) + change)
