"""A CVAE of plain convolutions, for changes of any kind."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from cvae._types import FeatureVectors, Images, Latents
from cvae.model import CVAE, Networks
from cvae.networks.blocks import check_sizes, downsampler, perceptron


class ConvGenerator(nn.Module):
    """Features and latent to a coarse map, which is enlarged step by step to an image in [0, 1].

    Maps have `widths` channels, coarse to fine; each is twice as large as the one before.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], *, features: int, latent: int, hidden: int, widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        sizes = [size]
        for _ in widths[1:]:
            rows, columns = sizes[0]
            sizes.insert(0, ((rows + 1) // 2, (columns + 1) // 2))
        self.sizes = sizes
        self.coarse = (widths[0], *sizes[0])
        self.expand = perceptron(features + latent, hidden, widths[0] * sizes[0][0] * sizes[0][1])
        self.steps = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, images: Images, features: FeatureVectors, latents: Latents) -> Images:
        maps = F.silu(self.expand(torch.cat([features, latents], 1)).unflatten(1, self.coarse))
        for step, size in zip(self.steps, self.sizes[1:], strict=True):
            maps = F.silu(step(F.interpolate(maps, size)))
        return self.last(maps).sigmoid()


class ConvCVAE(CVAE):
    """A CVAE of plain convolutions, for small images and changes of any kind.

    Args:
        hidden: Width of the hidden layers.
        features: Size of the context features, from which alone the generator draws x.

    Raises:
        ValueError: If height or width is below 8 or another size below 1, or the likelihood is unknown.
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        *,
        latent: int = 16,
        hidden: int = 256,
        features: int = 128,
        likelihood: str = "gaussian",
    ) -> None:
        check_sizes(height=height, width=width, channels=channels, latent=latent, hidden=hidden, features=features)
        encoded, flat = downsampler(2 * channels, (32, 64, 64), (height, width))
        context, context_flat = downsampler(channels, (32, 64, 64), (height, width))
        networks = Networks(
            context=nn.Sequential(context, nn.Linear(context_flat, features), nn.SiLU()),
            prior=perceptron(features, hidden, 2 * latent, zero_last=True),
            recognition=nn.Sequential(encoded, perceptron(flat, hidden, 2 * latent)),
            generator=ConvGenerator(
                channels, (height, width), features=features, latent=latent, hidden=hidden, widths=(64, 32, 16)
            ),
        )
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
