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

FILTER = 5  # rows and columns of a filter
WIDEST = 4  # the widest feature maps of a U-Net have this many times the channels of the finest


def halved(size: tuple[int, int], times: int) -> list[tuple[int, int]]:
    """Rows and columns after each of several halvings, rounded up."""
    return [(-(-size[0] // 2**n), -(-size[1] // 2**n)) for n in range(1, times + 1)]


class Stage(nn.Module):
    """Residual blocks of one scale, conditioned on a vector of size ``condition`` if that is above 0."""

    def __init__(self, width: int, blocks: int, condition: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, condition=condition) for _ in range(blocks))

    def forward(self, maps: Tensor, condition: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            maps = block(maps, condition)
        return maps


class Encoder(nn.Module):
    """Images to feature maps of ``widths`` channels, each half as large as the one before."""

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.halve = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise((channels, *widths))
        )
        self.stages = nn.ModuleList(Stage(width, blocks) for width in widths)

    def forward(self, images: Images) -> tuple[Tensor, ...]:
        maps: list[Tensor] = []
        for halve, stage in zip(self.halve, self.stages, strict=True):
            maps.append(stage(halve(maps[-1] if maps else images)))
        return tuple(maps)


class Context(nn.Module):
    """The features of x: feature maps, then x filtered, each channel by itself, by a bank of filters.

    The mean colour is subtracted before filtering, so that one gain changes the contrast. The first filter starts as
    the identity plus a bias.
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
    r"""Computes a change of x from latent and features, coarse to fine.

    .. math:: g(x, z) = x \oplus \Big(r(x, z) + \sum_k a_k(x, z) \odot (f_k * x)\Big)

    with learned filters :math:`f_k` and a link :math:`\oplus`. Residual r and gains :math:`a_k` are initially zero, so
    g(x, z) = x. Feature maps have `widths` channels, fine to coarse.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], blocks: int, filters: int, layout: LatentLayout, link: Link
    ) -> None:
        super().__init__()
        wide = widths[-1]
        self.layout, self.link, self.filters = layout, link, filters
        self.whole = nn.Sequential(nn.Linear(layout.vector + wide, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU())
        self.tone = zeroed(nn.Linear(wide, filters + channels))
        self.spread = nn.Sequential(
            nn.Linear(layout.vector, wide * layout.cells[0] * layout.cells[1]), nn.Unflatten(1, (wide, *layout.cells))
        )
        self.places = nn.ModuleDict(
            {str(scale): nn.Conv2d(layout.maps[scale][0], widths[scale], 3, padding=1) for scale in layout.mapped}
        )
        self.lift = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.stages = nn.ModuleList(Stage(width, blocks, wide) for width in widths)
        last = nn.Conv2d(widths[0], 4 * channels + filters, 3, padding=1)
        self.change = nn.Sequential(normalisation(widths[0]), nn.SiLU(), zeroed(last))

    def forward(self, images: Images, features: tuple[Tensor, ...], latents: Latents) -> Images:
        *maps, filtered = features
        vector, latent_maps = self.layout.split(latents)
        condition = self.whole(torch.cat([vector, maps[-1].mean((2, 3))], 1))
        h = maps[-1] + F.interpolate(self.spread(vector), maps[-1].shape[2:], mode="bilinear")
        for scale in reversed(range(len(maps))):
            if scale < len(maps) - 1:
                h = maps[scale] + enlarged(self.lift[scale](h), maps[scale].shape[2:])
            if scale in latent_maps:
                h = h + self.places[str(scale)](latent_maps[scale])
            h = self.stages[scale](h, condition)
        tone = self.tone(condition)[..., None, None]
        change = self.change(h)
        gains = change[:, : self.filters] + tone[:, : self.filters]
        rows, columns = images.shape[2:]
        blend = (enlarged(gains, images.shape[2:])[:, None] * filtered).sum(2)
        residual = F.pixel_shuffle(change[:, self.filters :], 2)[..., :rows, :columns] + tone[:, self.filters :]
        return self.link(images, residual + blend)


def enlarged(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps of twice the rows and columns, cropped to a size."""
    return F.interpolate(maps, scale_factor=2.0)[..., : size[0], : size[1]]


def pyramid(
    channels: int, widths: tuple[int, ...], *, blocks: int, filters: int, layout: LatentLayout, likelihood: str
) -> Networks:
    """The four networks of a CVAE over feature maps of `widths` channels, fine to coarse, with `blocks` at each scale.

    The likelihood chooses the link, by which the change is added to x.
    """
    link = add_logits if likelihood == "bernoulli" else add
    return Networks(
        context=Context(channels, widths, blocks, filters),
        prior=LatentHeads(widths, layout, zero=True),
        recognition=nn.Sequential(Encoder(2 * channels, widths, blocks), LatentHeads(widths, layout)),
        generator=Decoder(channels, widths, blocks, filters, layout, link),
    )


class UNetCVAE(CVAE):
    r"""A CVAE whose generator is a U-Net, for photographs of any size: illumination, weather, cameras.

    All layers but those of the latent's vector are convolutions, so memory is proportional to the number of pixels. The
    vector is computed from, and spread onto, a grid of at most 4x4 cells; there are maps only at scales that are coarse
    enough for the latent.

    Args:
        hidden: Channels of the feature maps at half the image's size; coarser ones have twice and four times as many.
        scales: Number of halvings of the image, at least 1.
        blocks: Residual blocks at each scale.
        maps: Latent channels at each scale, fine to coarse; the remaining coordinates are a vector for the whole image.
            If not given, each map takes at most half of the remaining coordinates.
        filters: Number of 5x5 filters of x that the generator blends.

    Raises:
        ValueError: If height or width is below 8 or another size below 1, the latent is too small for the maps, or the
            likelihood is unknown.

    References:
        Ronneberger et al., *U-Net: convolutional networks for biomedical image segmentation*, 2015; Wong and Kolter,
        *Learning perturbation sets for robust machine learning*, 2020, and its public release (five scales and 256
        latent coordinates for multi-illumination photographs).

    Example:
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
        *,
        latent: int = 256,
        hidden: int = 16,
        scales: int = 5,
        blocks: int = 1,
        maps: tuple[int, ...] | None = None,
        filters: int = 4,
        likelihood: str = "gaussian",
    ) -> None:
        layers = {"hidden": hidden, "scales": scales, "blocks": blocks, "filters": filters}
        check_sizes(height=height, width=width, channels=channels, latent=latent, **layers)
        networks = pyramid(
            channels,
            tuple(hidden * min(2**scale, WIDEST) for scale in range(scales)),
            blocks=blocks,
            filters=filters,
            layout=LatentLayout.divide(latent, halved((height, width), scales), maps),
            likelihood=likelihood,
        )
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
