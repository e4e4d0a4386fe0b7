"""A CVAE whose generator moves the pixels of x: a spatial transformer plus a residual."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvae._types import FeatureVectors, Images, Latents
from cvae.blocks import check_sizes, downsampler, perceptron
from cvae.model import CVAE, Networks


class SpatialGenerator(nn.Module):
    r"""Warps x by an affine map chosen by the latent, then adds a coarse residual.

    .. math:: g(x, z) = \operatorname{clip}_{[0,1]}\big(x \circ A(z, x) + r(z, x)\big)

    At the start A is the identity map and r is zero, so that training begins at "nothing changed".

    Args:
        channels: Image channels C.
        height: Image rows H.
        width: Image columns W.
        features: Size of the context features.
        latent: Latent coordinates Z.
        hidden: Width of the hidden layers.
        grid: Rows and columns of the coarse residual, which is interpolated to the image's size.

    References:
        Jaderberg et al., *Spatial transformer networks*, 2015.
    """

    identity: Tensor

    def __init__(
        self, channels: int, height: int, width: int, *, features: int, latent: int, hidden: int, grid: int
    ) -> None:
        super().__init__()
        self.coarse = (channels, grid, grid)
        self.size = (height, width)
        self.map = perceptron(features + latent, hidden, 6, zero_last=True)
        self.residual = perceptron(features + latent, hidden, channels * grid * grid, zero_last=True)
        self.register_buffer("identity", torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), persistent=False)

    def forward(self, images: Images, features: FeatureVectors, latents: Latents) -> Images:
        inputs = torch.cat([features, latents], 1)
        affine = (self.identity + self.map(inputs)).unflatten(1, (2, 3))
        points = F.affine_grid(affine, list(images.shape), align_corners=False)
        warped = F.grid_sample(images, points.to(images.dtype), align_corners=False)
        coarse = self.residual(inputs).unflatten(1, self.coarse)
        residual = F.interpolate(coarse, self.size, mode="bilinear", align_corners=False)
        return (warped + residual).clamp(0, 1)


class SpatialCVAE(CVAE):
    """A CVAE for changes that are mostly movements: rotation, translation, scale, shear.

    Its generator is handed the kind of change by its build, which is what a spatial transformer is for;
    :class:`ConvCVAE` is the architecture without that knowledge.

    Args:
        channels: Image channels C, at least 1.
        height: Image rows H, at least 8.
        width: Image columns W, at least 8.
        latent: Latent coordinates Z, at least 1.
        hidden: Width of the hidden layers.
        features: Size of the context features.
        grid: Rows and columns of the generator's coarse residual.
        likelihood: ``"gaussian"`` or ``"bernoulli"``.

    Raises:
        ValueError: If a size is too small or the likelihood unknown.

    Example:
        >>> model = SpatialCVAE(channels=1, height=28, width=28, latent=8)
        >>> x = torch.rand(2, 1, 28, 28)
        >>> torch.allclose(model.decode(x, torch.zeros(2, 8)), x, atol=1e-5)  # untrained: nothing changes
        True
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        latent: int = 16,
        hidden: int = 128,
        features: int = 32,
        grid: int = 7,
        likelihood: str = "gaussian",
    ) -> None:
        check_sizes(height, width, channels=channels, latent=latent, hidden=hidden, features=features, grid=grid)
        pixels = (height, width)
        encoded, flat = downsampler(2 * channels, (32, 64, 64), pixels)
        context, context_flat = downsampler(channels, (16, 32, 32), pixels)
        networks = Networks(
            context=nn.Sequential(context, nn.Linear(context_flat, features), nn.SiLU()),
            prior=perceptron(features, hidden, 2 * latent, zero_last=True),
            recognition=nn.Sequential(encoded, perceptron(flat, 2 * hidden, 2 * latent)),
            generator=SpatialGenerator(
                channels, height, width, features=features, latent=latent, hidden=hidden, grid=grid
            ),
        )
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
