"""Residual networks over images at several scales: an encoder, and a decoder that changes its input."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvae._types import Images, Latents
from cvae.likelihood import Link, add, add_logits
from cvae.model import CVAE, Networks
from cvae.networks.blocks import LatentHeads, LatentLayout, ResidualBlock, check_sizes, normalisation, zeroed

FILTER = 5
"""Rows and columns of a filter."""


def halved(size: tuple[int, int], times: int) -> list[tuple[int, int]]:
    """Rows and columns after each of several halvings, rounded up."""
    return [(-(-size[0] // 2**n), -(-size[1] // 2**n)) for n in range(1, times + 1)]


class Stage(nn.Module):
    """The residual blocks of one scale.

    Args:
        width: Channels.
        blocks: Number of blocks.
        told: Size of the vector that steers them; 0 for none.
    """

    def __init__(self, width: int, blocks: int, told: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, told=told) for _ in range(blocks))

    def forward(self, maps: Tensor, told: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            maps = block(maps, told)
        return maps


class Encoder(nn.Module):
    """Images to feature maps, the first half as large and each half as large as the one before.

    Args:
        channels: Channels of the images.
        widths: Channels of the feature maps, fine to coarse.
        blocks: Residual blocks at each scale.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.halve = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise((channels, *widths))
        )
        self.stages = nn.ModuleList(Stage(width, blocks) for width in widths)

    def forward(self, images: Images) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for halve, stage in zip(self.halve, self.stages, strict=True):
            found.append(stage(halve(found[-1] if found else images)))
        return tuple(found)


class Context(nn.Module):
    """What prior and generator are told of x: feature maps, then x seen through a bank of filters.

    Filters see x less its mean colour, so that one gain changes the contrast; the first starts near the identity.

    Args:
        channels: Image channels C.
        widths: Channels of the feature maps, fine to coarse.
        blocks: Residual blocks at each scale.
        filters: Number of filters, which look at every channel alone.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int, filters: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, widths, blocks)
        self.bank = nn.Conv2d(channels, channels * filters, FILTER, padding=FILTER // 2, groups=channels)
        with torch.no_grad():
            self.bank.weight[::filters] = 0
            self.bank.weight[::filters, 0, FILTER // 2, FILTER // 2] = 1
        self.split = nn.Unflatten(1, (channels, filters))

    def forward(self, images: Images) -> tuple[Tensor, ...]:
        return (*self.encoder(images), self.split(self.bank(images - images.mean((2, 3), keepdim=True))))


class Decoder(nn.Module):
    r"""Changes x at every scale, coarse to fine, by what the latent says of the image and of its places.

    .. math:: g(x, z) = x \oplus \Big(r(x, z) + \sum_k a_k(x, z) \odot (f_k * x)\Big)

    with filters :math:`f_k` that are learned with the network, and a link :math:`\oplus`. Residual r and gains
    :math:`a_k` start at zero, so that training begins at "nothing changed".

    Args:
        channels: Image channels C.
        widths: Channels of the feature maps, fine to coarse.
        blocks: Residual blocks at each scale.
        filters: Number of filters in the context.
        layout: Which coordinates of the latent are what.
        link: How the change is added to x.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], blocks: int, filters: int, layout: LatentLayout, link: Link
    ) -> None:
        super().__init__()
        told = widths[-1]
        self.layout, self.link, self.filters = layout, link, filters
        self.whole = nn.Sequential(
            nn.Linear(layout.vector + widths[-1], told), nn.SiLU(), nn.Linear(told, told), nn.SiLU()
        )
        self.tone = zeroed(nn.Linear(told, filters + channels))
        self.spread = nn.Sequential(
            nn.Linear(layout.vector, widths[-1] * layout.cells[0] * layout.cells[1]),
            nn.Unflatten(1, (widths[-1], *layout.cells)),
        )
        self.places = nn.ModuleDict(
            {str(scale): nn.Conv2d(layout.maps[scale][0], widths[scale], 3, padding=1) for scale in layout.mapped}
        )
        self.lift = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.stages = nn.ModuleList(Stage(width, blocks, told) for width in widths)
        last = nn.Conv2d(widths[0], 4 * channels + filters, 3, padding=1)
        self.change = nn.Sequential(normalisation(widths[0]), nn.SiLU(), zeroed(last))

    def forward(self, images: Images, features: tuple[Tensor, ...], latents: Latents) -> Images:
        *maps, filtered = features
        vector, places = self.layout.split(latents)
        told = self.whole(torch.cat([vector, maps[-1].mean((2, 3))], 1))
        h = maps[-1] + F.interpolate(self.spread(vector), maps[-1].shape[2:], mode="bilinear")
        for scale in reversed(range(len(maps))):
            if scale < len(maps) - 1:
                h = maps[scale] + enlarged(self.lift[scale](h), maps[scale].shape[2:])
            if scale in places:
                h = h + self.places[str(scale)](places[scale])
            h = self.stages[scale](h, told)
        tone = self.tone(told)[..., None, None]
        change = self.change(h)
        gains = change[:, : self.filters] + tone[:, : self.filters]
        rows, columns = images.shape[2:]
        seen = (enlarged(gains, images.shape[2:])[:, None] * filtered).sum(2)
        residual = F.pixel_shuffle(change[:, self.filters :], 2)[..., :rows, :columns] + tone[:, self.filters :]
        return self.link(images, residual + seen)


def enlarged(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps of twice the rows and columns, cut to a size."""
    return F.interpolate(maps, scale_factor=2.0)[..., : size[0], : size[1]]


def pyramid(
    channels: int,
    widths: tuple[int, ...],
    *,
    blocks: int,
    filters: int,
    layout: LatentLayout,
    likelihood: str,
) -> Networks:
    """The four networks of a CVAE over feature maps at several scales.

    Args:
        channels: Image channels C.
        widths: Channels of the feature maps, fine to coarse.
        blocks: Residual blocks at each scale.
        filters: Number of filters through which the generator sees x.
        layout: Which coordinates of the latent are what.
        likelihood: ``"gaussian"`` or ``"bernoulli"``; chooses how the generator's change is added to x.

    Returns:
        The networks; their features are a tuple of maps.
    """
    link = add_logits if likelihood == "bernoulli" else add
    return Networks(
        context=Context(channels, widths, blocks, filters),
        prior=LatentHeads(widths, layout, zero=True),
        recognition=nn.Sequential(Encoder(2 * channels, widths, blocks), LatentHeads(widths, layout)),
        generator=Decoder(channels, widths, blocks, filters, layout, link),
    )


# A CVAE for changes of any kind on large images.


WIDEST = 4
"""The widest feature maps have this many times the channels of the finest."""


class UNetCVAE(CVAE):
    r"""A CVAE whose generator is a U-Net around x, for photographs of any size: light, weather, cameras.

    All layers but those of the whole-image vector are convolutions, so memory grows with the number of pixels. The
    vector is read off, and spread onto, a grid of at most 4x4 cells; maps for places stand only at the scales that are
    coarse enough for the latent.

    Args:
        channels: Image channels C, at least 1.
        height: Image rows H, at least 8; any number, odd ones too.
        width: Image columns W, at least 8; any number, odd ones too.
        latent: Latent coordinates Z, at least 1.
        hidden: Channels of the feature maps at half the image's size; coarser ones have twice and four times as many.
        scales: How often the image is halved, at least 1.
        blocks: Residual blocks at each scale.
        maps: Latent channels at each scale, fine to coarse; what they leave of the latent acts on the whole image.
            If not given, each map takes what fits into half of what is left.
        filters: Number of 5x5 filters whose views of x the generator blends.
        likelihood: ``"gaussian"`` or ``"bernoulli"``.

    Raises:
        ValueError: If a size is too small, the latent cannot be shared out as asked, or the likelihood is unknown.

    References:
        Ronneberger et al., *U-Net: convolutional networks for biomedical image segmentation*, 2015; Wong and Kolter,
        *Learning perturbation sets for robust machine learning*, 2020, and its public release (five scales and 256
        latent coordinates for multi-illumination photographs).

    Example:
        >>> import torch
        >>> model = UNetCVAE(3, 125, 187)
        >>> x = torch.rand(1, 3, 125, 187)
        >>> torch.equal(model.decode(x, torch.randn(1, 256)), x)  # untrained: nothing changes
        True
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 125,
        width: int = 187,
        latent: int = 256,
        hidden: int = 16,
        scales: int = 5,
        blocks: int = 1,
        maps: tuple[int, ...] | None = None,
        filters: int = 4,
        likelihood: str = "gaussian",
    ) -> None:
        check_sizes(
            height,
            width,
            channels=channels,
            latent=latent,
            hidden=hidden,
            scales=scales,
            blocks=blocks,
            filters=filters,
        )
        networks = pyramid(
            channels,
            tuple(hidden * min(2**scale, WIDEST) for scale in range(scales)),
            blocks=blocks,
            filters=filters,
            layout=LatentLayout.divide(latent, halved((height, width), scales), maps),
            likelihood=likelihood,
        )
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
