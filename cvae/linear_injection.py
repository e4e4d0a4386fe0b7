"""The latent through linear layers: two heads over a whole feature map, and one map in image size for the generator."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from cvae._types import Images, Latents
from cvae.blocks import ResidualBlock, normalisation, zeroed
from cvae.model import Networks

BOTTLENECK = 4
"""A block narrows its maps by this factor: 64 to 16 channels in the authors' release."""


class Trunk(nn.Sequential):
    """Residual blocks at the images' own size.

    Args:
        channels: Channels of the input.
        hidden: Channels of the feature maps.
        blocks: Number of blocks.
        outputs: Channels of the output.
    """

    def __init__(self, channels: int, hidden: int, blocks: int, outputs: int) -> None:
        inner = max(1, hidden // BOTTLENECK)
        super().__init__(
            nn.Conv2d(channels, hidden, 3, padding=1),
            *(ResidualBlock(hidden, inner) for _ in range(blocks)),
            normalisation(hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, outputs, 3, padding=1),
        )


class LinearHeads(nn.Sequential):
    """A feature map, flattened, to means and log-scales.

    Args:
        channels: Channels of the feature map.
        size: Its rows and columns.
        latent: Latent coordinates Z.
        zero: Whether the output starts at zero for every input.
    """

    def __init__(self, channels: int, size: tuple[int, int], latent: int, *, zero: bool = False) -> None:
        heads = nn.Linear(channels * prod(size), 2 * latent)
        super().__init__(normalisation(channels), nn.SiLU(), nn.Flatten(), zeroed(heads) if zero else heads)


class LinearGenerator(nn.Module):
    """Residual blocks over x and the latent, which a linear layer turns into one more channel of x.

    Args:
        channels: Image channels C.
        size: Image rows and columns.
        latent: Latent coordinates Z.
        hidden: Channels of the feature maps.
        blocks: Number of blocks.
    """

    def __init__(self, channels: int, size: tuple[int, int], latent: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(latent, prod(size)), nn.Unflatten(1, (1, *size)))
        self.trunk = Trunk(channels + 1, hidden, blocks, channels)

    def forward(self, images: Images, features: Tensor, latents: Latents) -> Images:
        return self.trunk(torch.cat([images, self.map(latents)], 1)).sigmoid()


def linear_networks(channels: int, size: tuple[int, int], *, latent: int, hidden: int, blocks: int) -> Networks:
    """The four networks of a CVAE in the shape of the paper's model of CIFAR-10 corruptions."""
    narrow = max(1, hidden // BOTTLENECK)
    return Networks(
        context=Trunk(channels, hidden, blocks, narrow),
        prior=LinearHeads(narrow, size, latent, zero=True),
        recognition=nn.Sequential(Trunk(2 * channels, hidden, blocks, narrow), LinearHeads(narrow, size, latent)),
        generator=LinearGenerator(channels, size, latent, hidden, blocks),
    )
