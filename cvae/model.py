"""The conditional variational autoencoder: prior, recognition and generator as conditional distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cvae._types import Features, Images, Latents, Parameters, PerImage, Rows
from cvae.checkpoint import Pretrained
from cvae.likelihood import BernoulliLikelihood, GaussianLikelihood
from cvae.networks.blocks import blurred

LOG_SCALE_RANGE = 7.0  # scales stay within e^±7: neither they nor their inverses overflow in float16

Likelihood = GaussianLikelihood | BernoulliLikelihood


@dataclass(frozen=True)
class DiagonalGaussian:
    r"""A Gaussian with a diagonal covariance, one per image.

    .. math:: p(z) = \prod_j \mathcal N(z_j;\ \mu_j, \sigma_j^2)

    ``torch.distributions`` draws from the global random state only; here the noise is an argument, so that a draw can
    be stored, replayed and shared between processes.

    Args:
        mean: Means :math:`\mu`.
        log_scale: Logarithms of the standard deviations :math:`\ln\sigma` (not of the variances).
    """

    mean: Latents
    log_scale: Latents

    @classmethod
    def from_features(cls, features: Parameters) -> DiagonalGaussian:
        """Means and log-scales from the two halves of a network's output; a scaled ``tanh`` bounds log-scales by ±7."""
        mean, log_scale = features.chunk(2, dim=1)
        return cls(mean, LOG_SCALE_RANGE * (log_scale / LOG_SCALE_RANGE).tanh())

    @property
    def scale(self) -> Tensor:
        """Standard deviations, one per coordinate."""
        return self.log_scale.exp()

    def at(self, offsets: Latents) -> Latents:
        r"""Latents at offsets counted in standard deviations: :math:`z = \mu + \sigma \odot u`."""
        return self.mean + self.scale * offsets

    def offsets(self, latents: Latents) -> Latents:
        r"""Offsets of latents in standard deviations: :math:`u = (z - \mu) / \sigma`."""
        return (latents - self.mean) / self.scale

    def log_prob(self, latents: Latents) -> PerImage:
        """Log-density of latents, summed over coordinates."""
        squares = self.offsets(latents).square()
        return -(0.5 * squares + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(1)

    def kl(self, other: DiagonalGaussian) -> PerImage:
        r"""Kullback-Leibler divergence from this distribution to another, in nats.

        .. math:: \mathrm{KL} = \sum_j \ln\frac{\sigma'_j}{\sigma_j}
            + \frac{\sigma_j^2 + (\mu_j - \mu'_j)^2}{2\sigma_j'^2} - \frac12
        """
        log_ratio = self.log_scale - other.log_scale
        shift = other.offsets(self.mean)
        return (0.5 * ((2 * log_ratio).exp() + shift.square() - 1) - log_ratio).sum(1)


class Terms(NamedTuple):
    """The terms of the evidence lower bound, one number per image.

    Attributes:
        statistic: Squared error (Gaussian likelihood) or cross-entropy (Bernoulli), summed over pixels.
        kl: Kullback-Leibler divergence from the recognition distribution to the prior, in nats.
    """

    statistic: PerImage
    kl: PerImage


class Networks(NamedTuple):
    """The four networks a conditional VAE is made of.

    Attributes:
        context: Images to features, one tensor or a tuple of them; they depend on x alone, so once per batch is enough.
        prior: Features to prior mean and log-scale, ``[B, 2 * latent]``.
        recognition: The pair, concatenated along channels, to mean and log-scale, ``[B, 2 * latent]``.
        generator: ``(images, features, latents)`` to images in [0, 1].
    """

    context: nn.Module
    prior: nn.Module
    recognition: nn.Module
    generator: nn.Module


class CVAE(Pretrained):
    r"""A conditional variational autoencoder over pairs of images (x, x̃).

    .. math:: p(z \mid x) = \mathcal N(\mu(x), \operatorname{diag} \sigma^2(x)), \quad
        q(z \mid x, \tilde x) = \mathcal N(\mu_q, \operatorname{diag} \sigma_q^2), \quad
        p(\tilde x \mid z, x) \text{ around } g(x, z)

    Each subclass is an architecture: it builds the networks for Z latent coordinates and images of shape (C, H, W). The
    likelihood is ``"gaussian"`` or ``"bernoulli"``; another is a ``ValueError``.

    References:
        Sohn, Lee and Yan, *Learning structured output representation using deep conditional generative
        models*, 2015; Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 3.
    """

    def __init__(
        self, networks: Networks, *, latent: int, shape: tuple[int, int, int], likelihood: str = "gaussian"
    ) -> None:
        super().__init__()
        kinds: dict[str, type[Likelihood]] = {"gaussian": GaussianLikelihood, "bernoulli": BernoulliLikelihood}
        if likelihood not in kinds:
            raise ValueError(f"likelihood must be one of {sorted(kinds)}, got {likelihood!r}")
        self.latent = latent
        self.shape = shape
        self.likelihood = kinds[likelihood]()
        self._context, self._prior, self._recognition, self._generator = networks

    @property
    def pixels(self) -> int:
        """Number of pixels times channels, m."""
        return math.prod(self.shape)

    def check(self, images: Tensor, name: str = "images") -> None:
        """Refuses images of another shape than the ``[B, C, H, W]`` of the model."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"{name} must have shape [B, {', '.join(map(str, self.shape))}], which this "
                f"{type(self).__name__} was built for, got {list(images.shape)}: resize them, or build the "
                "model with their channels, height and width"
            )

    def context(self, images: Tensor) -> Features:
        """Features of x, from which prior and generator are computed."""
        self.check(images)
        return self._context(images)

    def select(self, features: Features, rows: Rows) -> Tensor | tuple[Tensor, ...]:
        """The features of some of the images."""
        return tuple(part[rows] for part in features) if isinstance(features, tuple) else features[rows]

    def prior(self, features: Features) -> DiagonalGaussian:
        """The prior p(z|x) from the features of :meth:`context`."""
        return DiagonalGaussian.from_features(self._prior(features))

    def recognition(self, images: Tensor, changed: Tensor) -> DiagonalGaussian:
        """The recognition distribution q(z|x,x̃) of pairs."""
        self.check(images)
        self.check(changed, "changed")
        return DiagonalGaussian.from_features(self._recognition(torch.cat([images, changed], 1)))

    def generator(self, images: Images, features: Features, latents: Latents) -> Images:
        """The generator's image g(x, z) in [0, 1]."""
        return self._generator(images, features, latents)

    def encode(self, images: Tensor, changed: Tensor) -> Latents:
        r"""Encodings of pairs, in prior standard deviations.

        .. math:: u = (\mu_q - \mu_p) / \sigma_p
        """
        return self.prior(self.context(images)).offsets(self.recognition(images, changed).mean)

    def decode(self, images: Tensor, offsets: Latents) -> Images:
        r"""Images at offsets in prior standard deviations, :math:`g(x, \mu_p + \sigma_p \odot u)`."""
        features = self.context(images)
        return self.generator(images, features, self.prior(features).at(offsets))

    def forward(self, images: Images, changed: Images, noise: Latents, blur: float = 0.0) -> Terms:
        """The terms of the evidence lower bound at one draw of the latent, which standard normal noise makes.

        A blur above 0 is the standard deviation, in pixels, of a Gaussian that generated and changed images are blurred
        by before the likelihood.
        """
        features = self.context(images)
        prior, posterior = self.prior(features), self.recognition(images, changed)
        generated = self.generator(images, features, posterior.at(noise))
        if blur:
            generated, changed = blurred(generated, blur), blurred(changed, blur)
        return Terms(self.likelihood.statistic(generated, changed), posterior.kl(prior))
