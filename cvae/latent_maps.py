"""A flat latent read as one vector for the whole image and maps for its places, at several scales."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvae._types import Latents
from cvae.blocks import normalisation, zeroed

GRID = 4
"""Most rows and columns of the grid from which the vector is read, and onto which it is spread again."""


class LatentLayout(NamedTuple):
    """Which coordinates of a latent are what: first the vector, then the maps, fine to coarse.

    Attributes:
        vector: Coordinates that act on the whole image.
        maps: Channels, rows and columns of the map at each scale; 0 channels where there is none.
    """

    vector: int
    maps: tuple[tuple[int, int, int], ...]

    @classmethod
    def divide(cls, latent: int, sizes: list[tuple[int, int]], channels: tuple[int, ...] | None = None) -> LatentLayout:
        """Shares a number of coordinates out among scales.

        Args:
            latent: All coordinates.
            sizes: Rows and columns at each scale, fine to coarse.
            channels: Channels of the map at each scale. If not given, each map, fine to coarse, gets as many as fit
                into half of what is left.

        Returns:
            The layout; what the maps leave is the vector.

        Raises:
            ValueError: If there is not a number of channels for each scale, one is negative, or the maps leave
                nothing to the vector.

        Example:
            >>> LatentLayout.divide(512, [(16, 16), (8, 8), (4, 4)])
            LatentLayout(vector=64, maps=((1, 16, 16), (2, 8, 8), (4, 4, 4)))
        """
        if channels is None:
            channels, left = (), latent
            for size in sizes:
                channels += (left // 2 // prod(size),)
                left -= channels[-1] * prod(size)
        if len(channels) != len(sizes) or min(channels) < 0:
            raise ValueError(
                f"maps must hold {len(sizes)} numbers of channels, 0 or more, for the scales "
                f"{', '.join(f'{rows}x{columns}' for rows, columns in sizes)}, got {channels}"
            )
        maps = tuple((count, *size) for count, size in zip(channels, sizes, strict=True))
        taken = sum(map(prod, maps))
        if taken >= latent:
            raise ValueError(
                f"latent must be above the {taken} coordinates of the maps "
                f"({' + '.join('x'.join(map(str, shape)) for shape in maps if shape[0])}), so that some are left for "
                f"the whole image, got {latent}: take a larger latent or fewer channels in maps"
            )
        return cls(latent - taken, maps)

    @property
    def mapped(self) -> list[int]:
        """The scales that have a map."""
        return [scale for scale, (channels, *_) in enumerate(self.maps) if channels]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the coarse grid through which the vector knows of places."""
        _, rows, columns = self.maps[-1]
        return min(rows, GRID), min(columns, GRID)

    def split(self, latents: Latents) -> tuple[Tensor, dict[int, Tensor]]:
        """The vector of a latent, and its maps by scale."""
        sizes = [prod(self.maps[scale]) for scale in self.mapped]
        vector, *parts = latents.split([self.vector, *sizes], 1)
        return vector, {
            scale: part.unflatten(1, self.maps[scale]) for scale, part in zip(self.mapped, parts, strict=True)
        }


class LatentHeads(nn.Module):
    """Feature maps at several scales to means and log-scales of a latent, ``[B, 2 * latent]``.

    Args:
        widths: Channels of the feature maps, fine to coarse.
        layout: Which coordinates are what.
        zero: Whether the output starts at zero for every input.
    """

    def __init__(self, widths: tuple[int, ...], layout: LatentLayout, *, zero: bool = False) -> None:
        super().__init__()
        self.coarsest, self.cells = len(widths) - 1, layout.cells
        whole = nn.Linear(widths[-1] * prod(layout.cells), 2 * layout.vector)
        places = {scale: nn.Conv2d(widths[scale], 2 * layout.maps[scale][0], 3, padding=1) for scale in layout.mapped}
        if zero:
            for layer in (whole, *places.values()):
                zeroed(layer)
        self.whole = nn.Sequential(normalisation(widths[-1]), nn.SiLU(), nn.Flatten(), whole)
        self.places = nn.ModuleDict(
            {
                str(scale): nn.Sequential(normalisation(widths[scale]), nn.SiLU(), place)
                for scale, place in places.items()
            }
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        parts = [self.whole(F.adaptive_avg_pool2d(maps[self.coarsest], self.cells)).chunk(2, 1)]
        for scale, head in self.places.items():
            mean, log_scale = head(maps[int(scale)]).chunk(2, 1)
            parts.append((mean.flatten(1), log_scale.flatten(1)))
        means, log_scales = zip(*parts, strict=True)
        return torch.cat([*means, *log_scales], 1)
