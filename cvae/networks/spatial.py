"""A CVAE whose generator is a spatial transformer plus a residual."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cvae._types import FeatureVectors, Images, Latents, Motions
from cvae.model import CVAE, Networks
from cvae.networks.blocks import check_sizes, downsampler, perceptron

MOTIONS = 6  # angle, log-size, stretch along the axes and along the diagonals, two shifts
LOG_SIZE_RANGE = 3.0  # sizes stay within e^±3, so that no step of the weights makes them overflow


def sources(motions: Motions, height: int, width: int) -> Float[Tensor, "B H W 2"]:
    r"""Source position of each pixel of a moved image, for ``grid_sample``.

    .. math:: q = e^{-s} \begin{pmatrix} 1 + a & b \\ b & 1 - a \end{pmatrix}
              \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix} (p - t)

    for motions :math:`(\theta, s, a, b, t_x, t_y)` and a pixel :math:`p` from the centre, y downwards: angle in
    radians, logarithm of the size (bounded by ±3 through a scaled ``tanh``), stretches, and shift in halves of the
    frame. Zeros are the identity. Unlike the six entries of an affine matrix, each motion has the same effect whatever
    the values of the others. Columns and rows are from -1 to 1 within the image.
    """
    angle, size, along, across, shift_x, shift_y = motions[..., None, None].unbind(1)
    size = LOG_SIZE_RANGE * (size / LOG_SIZE_RANGE).tanh()
    x = _centred(width, motions)[None, :] - shift_x * (width / 2)
    y = _centred(height, motions)[:, None] - shift_y * (height / 2)
    cos, sin = angle.cos() * (-size).exp(), angle.sin() * (-size).exp()
    x, y = cos * x - sin * y, sin * x + cos * y
    x, y = x + along * x + across * y, y + across * x - along * y
    return torch.stack([x * (2 / width), y * (2 / height)], -1)


def _centred(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, dtype=like.dtype, device=like.device) + (0.5 - length / 2)


class SpatialGenerator(nn.Module):
    r"""Warps x by an affine map chosen by the latent, then adds a coarse residual.

    .. math:: g(x, z) = \operatorname{clip}_{[0,1]}\big(x \circ A(z, x) + r(z, x)\big)

    The residual has `grid` rows and columns, interpolated to the image's size; 0 for none. Initially A is the identity
    map and r is zero, so g(x, z) = x.

    References:
        Jaderberg et al., *Spatial transformer networks*, 2015.
    """

    def __init__(
        self, channels: int, height: int, width: int, *, features: int, latent: int, hidden: int, grid: int
    ) -> None:
        super().__init__()
        self.coarse = (channels, grid, grid)
        self.size = (height, width)
        self.motions = perceptron(features + latent, hidden, MOTIONS, zero_last=True)
        self.residual = perceptron(features + latent, hidden, channels * grid * grid, zero_last=True) if grid else None

    def forward(self, images: Images, features: FeatureVectors, latents: Latents) -> Images:
        inputs = torch.cat([features, latents], 1)
        points = sources(self.motions(inputs).to(images.dtype), *self.size)
        generated = F.grid_sample(images, points, align_corners=False)
        if self.residual is not None:
            coarse = self.residual(inputs).unflatten(1, self.coarse)
            generated = generated + F.interpolate(coarse, self.size, mode="bilinear", align_corners=False)
        # `clamp` alone has no gradient at the bounds themselves, where a black background lies initially.
        inside = (generated >= 0) & (generated <= 1)
        return generated.where(inside, generated.clamp(0, 1))


class SpatialCVAE(CVAE):
    """A CVAE for changes that are mostly geometric: rotation, translation, scale, shear.

    Its generator is a spatial transformer; :class:`ConvCVAE` is the architecture without that prior knowledge.

    Args:
        hidden: Width of the hidden layers.
        features: Size of the context features.
        grid: Rows and columns of the generator's coarse residual; 0 for none, which keeps zeros of a background exact.

    Raises:
        ValueError: If height or width is below 8, another size too small, or the likelihood unknown.

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
        *,
        latent: int = 16,
        hidden: int = 128,
        features: int = 32,
        grid: int = 7,
        likelihood: str = "gaussian",
    ) -> None:
        check_sizes(height=height, width=width, channels=channels, latent=latent, hidden=hidden, features=features)
        if grid < 0:
            raise ValueError(f"grid must be 0 (no residual) or more, got {grid}")
        encoded, flat = downsampler(2 * channels, (32, 64, 64), (height, width))
        context, context_flat = downsampler(channels, (16, 32, 32), (height, width))
        networks = Networks(
            context=nn.Sequential(context, nn.Linear(context_flat, features), nn.SiLU()),
            prior=perceptron(features, hidden, 2 * latent, zero_last=True),
            recognition=nn.Sequential(encoded, perceptron(flat, 2 * hidden, 2 * latent)),
            generator=SpatialGenerator(
                channels, height, width, features=features, latent=latent, hidden=hidden, grid=grid
            ),
        )
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
