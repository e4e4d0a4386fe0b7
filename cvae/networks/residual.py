"""A CVAE for changes of any kind on small colour images."""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from cvae._types import Images, Latents
from cvae.model import CVAE, Networks
from cvae.networks.blocks import LatentLayout, ResidualBlock, check_sizes, normalisation, zeroed
from cvae.networks.pyramid import halved, pyramid

BOTTLENECK = 4  # a block narrows its maps by this factor: 64 to 16 channels in the authors' release
SCALES = 3  # of the pyramid: a half, a quarter and an eighth of the image's size

Injection = Literal["maps", "linear"]
"""How the latent enters the generator."""


def trunk(channels: int, hidden: int, blocks: int, outputs: int) -> nn.Sequential:
    """Residual blocks of ``hidden`` channels at the images' own size."""
    first = nn.Conv2d(channels, hidden, 3, padding=1)
    inner = [ResidualBlock(hidden, max(1, hidden // BOTTLENECK)) for _ in range(blocks)]
    return nn.Sequential(first, *inner, normalisation(hidden), nn.SiLU(), nn.Conv2d(hidden, outputs, 3, padding=1))


def linear_heads(channels: int, size: tuple[int, int], latent: int, *, zero: bool = False) -> nn.Sequential:
    """A flattened feature map to means and log-scales; with ``zero`` both start at zero for every input."""
    heads = nn.Linear(channels * prod(size), 2 * latent)
    return nn.Sequential(normalisation(channels), nn.SiLU(), nn.Flatten(), zeroed(heads) if zero else heads)


class LinearGenerator(nn.Module):
    """Residual blocks over x and one more channel, which a linear layer computes from the latent."""

    def __init__(self, channels: int, size: tuple[int, int], latent: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(latent, prod(size)), nn.Unflatten(1, (1, *size)))
        self.trunk = trunk(channels + 1, hidden, blocks, channels)

    def forward(self, images: Images, features: Tensor, latents: Latents) -> Images:
        return self.trunk(torch.cat([images, self.map(latents)], 1)).sigmoid()


def linear_networks(channels: int, size: tuple[int, int], *, latent: int, hidden: int, blocks: int) -> Networks:
    """The four networks of a CVAE whose latent passes through linear layers over full-size maps."""
    narrow = max(1, hidden // BOTTLENECK)
    return Networks(
        context=trunk(channels, hidden, blocks, narrow),
        prior=linear_heads(narrow, size, latent, zero=True),
        recognition=nn.Sequential(trunk(2 * channels, hidden, blocks, narrow), linear_heads(narrow, size, latent)),
        generator=LinearGenerator(channels, size, latent, hidden, blocks),
    )


class ResidualCVAE(CVAE):
    r"""A CVAE of residual networks for small colour images and changes of any kind: blur, noise, weather, compression.

    With ``injection="maps"`` the latent is a vector for the whole image (brightness, contrast, strength of a blur) and
    spatial maps at a half, a quarter and an eighth of its size (texture, flakes, fog), each combined with the features
    of x at its scale. The generator computes a change of x, which is initially zero.

    With ``injection="linear"`` the latent passes through linear layers over full-size maps, and the generator computes
    the image itself. ``ResidualCVAE(latent=512, hidden=64, blocks=4, injection="linear")`` has depth, widths and latent
    of the paper's model of CIFAR-10 corruptions; group normalisation replaces batch normalisation, so that the network
    is the same in training and under attack.

    Args:
        hidden: Channels of the feature maps at the finest scale, doubled at each coarser one. The default trains on a
            CPU in minutes; on a GPU take 32 or more, and a larger latent.
        blocks: Residual blocks at each scale (in each network for ``"linear"``).
        injection: How the latent enters: ``"maps"`` or ``"linear"``.
        maps: For ``"maps"``, latent channels at each of the three scales, fine to coarse; the remaining coordinates are
            the vector. If not given, each map takes at most half of the remaining coordinates.
        filters: For ``"maps"``, number of 5x5 filters of x that the generator blends.

    Raises:
        ValueError: If height or width is below 8 or another size below 1, the latent is too small for the maps, or the
            injection or likelihood is unknown.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, and its public release
        (4 blocks of 64 and 16 channels, latent 512).

    Example:
        >>> model = ResidualCVAE()
        >>> x = torch.rand(2, 3, 32, 32)
        >>> torch.equal(model.decode(x, torch.randn(2, 128)), x)  # untrained: nothing changes
        True
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 32,
        width: int = 32,
        *,
        latent: int = 128,
        hidden: int = 8,
        blocks: int = 1,
        injection: Injection = "maps",
        maps: tuple[int, ...] | None = None,
        filters: int = 4,
        likelihood: str = "gaussian",
    ) -> None:
        layers = {"hidden": hidden, "blocks": blocks, "filters": filters}
        check_sizes(height=height, width=width, channels=channels, latent=latent, **layers)
        size = (height, width)
        if injection == "linear":
            if maps is not None:
                raise ValueError(f'maps must be left out with injection="linear", got {maps}')
            networks = linear_networks(channels, size, latent=latent, hidden=hidden, blocks=blocks)
        elif injection == "maps":
            networks = pyramid(
                channels,
                tuple(hidden * 2**scale for scale in range(SCALES)),
                blocks=blocks,
                filters=filters,
                layout=LatentLayout.divide(latent, halved(size, SCALES), maps),
                likelihood=likelihood,
            )
        else:
            raise ValueError(f'injection must be "maps" or "linear", got {injection!r}')
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
