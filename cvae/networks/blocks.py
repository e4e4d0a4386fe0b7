"""Layers shared by the architectures, Gaussian blur, and latents of a vector and maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvae._types import Images, Latents

SMALLEST = 8  # rows and columns of an image that can be halved three times

GRID = 4  # most rows and columns of the grid from which the vector of a latent is computed, and onto which it is spread

Layer = TypeVar("Layer", bound=nn.Module)


def check_sizes(**sizes: int) -> None:
    """Refuses sizes of a network by name: ``height`` and ``width`` below 8, others below 1; all of them are listed."""
    least = {name: SMALLEST if name in ("height", "width") else 1 for name in sizes}
    faults = [
        f"{name} must be at least {least[name]}, got {size}" for name, size in sizes.items() if size < least[name]
    ]
    if faults:
        raise ValueError("; ".join(faults))


def perceptron(inputs: int, hidden: int, outputs: int, *, zero_last: bool = False) -> nn.Sequential:
    """A network of two hidden layers with SiLU; with ``zero_last`` its output starts at zero for every input."""
    last = nn.Linear(hidden, outputs)
    if zero_last:
        zeroed(last)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


def zeroed(layer: Layer) -> Layer:
    """The layer with weights and bias set to zero, so that its output starts at zero for every input."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def downsampler(channels: int, widths: tuple[int, ...], size: tuple[int, int]) -> tuple[nn.Sequential, int]:
    """Convolutions that each halve the image, then flattening; without pooling, as positions matter for changes.

    The network, with `widths` channels after each convolution, and the size of its output.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU()]
        channels, size = width, ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return nn.Sequential(*layers, nn.Flatten()), channels * size[0] * size[1]


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation, the same in training and evaluation; groups have at least two channels."""
    return nn.GroupNorm(math.gcd(channels // 2, 4) if channels % 2 == 0 else 1, channels)


class ResidualBlock(nn.Module):
    r"""Two convolutions with a skip connection, optionally conditioned on a vector.

    .. math:: h + C_2\,\phi\big((1 + s(c)) \odot N_2(C_1\,\phi(N_1(h))) + b(c)\big)

    Input and output have `width` channels, the maps between the convolutions `inner`; the vector c, which sets scale s
    and shift b, has `condition` coordinates, 0 for none.

    References:
        He et al., *Identity mappings in deep residual networks*, 2016; Perez et al., *FiLM: visual reasoning with a
        general conditioning layer*, 2018.
    """

    def __init__(self, width: int, inner: int | None = None, condition: int = 0) -> None:
        super().__init__()
        inner = inner or width
        self.first, self.second = normalisation(width), normalisation(inner)
        self.narrow = nn.Conv2d(width, inner, 3, padding=1)
        self.widen = nn.Conv2d(inner, width, 3, padding=1)
        self.steer = nn.Linear(condition, 2 * inner) if condition else None

    def forward(self, maps: Tensor, condition: Tensor | None = None) -> Tensor:
        inner = self.second(self.narrow(F.silu(self.first(maps))))
        if self.steer is not None:
            scale, shift = self.steer(condition)[..., None, None].chunk(2, 1)
            inner = inner * (1 + scale) + shift
        return maps + self.widen(F.silu(inner))


def blurred(images: Images, width: float) -> Images:
    r"""Blurs by a Gaussian whose weights are renormalised at the border.

    .. math:: \tilde x_p = \frac{\sum_q k(p - q)\, x_q}{\sum_q k(p - q)}, \qquad k(d) = e^{-\|d\|^2 / 2 w^2}

    The width :math:`w > 0` is in pixels. The sums are over the pixels of the image, so constant images stay unchanged.
    Images in [0, 1] stay there, and become float32 or float64.

    Example:
        >>> points = torch.zeros(1, 1, 5, 5)
        >>> points[0, 0, 2, 2] = 1
        >>> (100 * blurred(points, 0.5)[0, 0, 2]).round()
        tensor([ 0.,  8., 62.,  8.,  0.])
    """
    with torch.autocast(images.device.type, enabled=False):  # a mean in half precision may leave [0, 1] visibly
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        rows, columns = (_blur_matrix(images, length, width) for length in images.shape[-2:])
        return (rows @ images @ columns.T).clamp(0, 1)


def _blur_matrix(like: Tensor, length: int, width: float) -> Tensor:
    """The weights of the pixels of a line for each of them, ``[length, length]``."""
    position = torch.arange(length, dtype=like.dtype, device=like.device)
    return (-0.5 * ((position[:, None] - position) / width).square()).softmax(1)


@dataclass(frozen=True)
class LatentLayout:
    """The parts of a flat latent: a vector for the whole image, then maps at several scales, fine to coarse.

    Maps have channels, rows and columns; 0 channels where there is none.
    """

    vector: int
    maps: tuple[tuple[int, int, int], ...]

    @classmethod
    def divide(cls, latent: int, sizes: list[tuple[int, int]], channels: tuple[int, ...] | None = None) -> LatentLayout:
        """Divides a number of coordinates among maps of given rows and columns, fine to coarse, and the vector.

        If no channels are given, each map, fine to coarse, gets as many as fit into half of the remaining coordinates.

        Raises:
            ValueError: If there is not a number of channels for each scale, one is negative, or no coordinate remains
                for the vector.

        Example:
            >>> LatentLayout.divide(512, [(16, 16), (8, 8), (4, 4)])
            LatentLayout(vector=64, maps=((1, 16, 16), (2, 8, 8), (4, 4, 4)))
        """
        if channels is None:
            channels, remaining = (), latent
            for size in sizes:
                channels += (remaining // 2 // prod(size),)
                remaining -= channels[-1] * prod(size)
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
                f"({' + '.join('x'.join(map(str, shape)) for shape in maps if shape[0])}), so that some remain for "
                f"the whole image, got {latent}: take a larger latent or fewer channels in maps"
            )
        return cls(latent - taken, maps)

    @property
    def mapped(self) -> list[int]:
        """The scales that have a map."""
        return [scale for scale, (channels, *_) in enumerate(self.maps) if channels]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the coarse grid through which the vector depends on positions."""
        _, rows, columns = self.maps[-1]
        return min(rows, GRID), min(columns, GRID)

    def split(self, latents: Latents) -> tuple[Tensor, dict[int, Tensor]]:
        """The vector of a latent, and its maps by scale."""
        mapped = self.mapped
        sizes = [prod(self.maps[scale]) for scale in mapped]
        vector, *parts = latents.split([self.vector, *sizes], 1)
        return vector, {scale: part.unflatten(1, self.maps[scale]) for scale, part in zip(mapped, parts, strict=True)}


class LatentHeads(nn.Module):
    """Feature maps at several scales, fine to coarse, to means and log-scales of a latent, ``[B, 2 * latent]``.

    With ``zero`` both start at zero for every input.
    """

    def __init__(self, widths: tuple[int, ...], layout: LatentLayout, *, zero: bool = False) -> None:
        super().__init__()
        self.coarsest, self.cells = len(widths) - 1, layout.cells
        whole = nn.Linear(widths[-1] * prod(layout.cells), 2 * layout.vector)
        maps = {scale: nn.Conv2d(widths[scale], 2 * layout.maps[scale][0], 3, padding=1) for scale in layout.mapped}
        if zero:
            for layer in (whole, *maps.values()):
                zeroed(layer)
        self.whole = nn.Sequential(normalisation(widths[-1]), nn.SiLU(), nn.Flatten(), whole)
        self.places = nn.ModuleDict(
            {str(scale): nn.Sequential(normalisation(widths[scale]), nn.SiLU(), head) for scale, head in maps.items()}
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        parts = [self.whole(F.adaptive_avg_pool2d(maps[self.coarsest], self.cells)).chunk(2, 1)]
        for scale, head in self.places.items():
            mean, log_scale = head(maps[int(scale)]).chunk(2, 1)
            parts.append((mean.flatten(1), log_scale.flatten(1)))
        means, log_scales = zip(*parts, strict=True)
        return torch.cat([*means, *log_scales], 1)
