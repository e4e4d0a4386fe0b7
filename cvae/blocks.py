"""Building blocks shared by the architectures."""

from __future__ import annotations

import math
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 8

Layer = TypeVar("Layer", bound=nn.Module)


def check_sizes(height: int, width: int, **others: int) -> None:
    """Refuses sizes that no network can be built for.

    Args:
        height: Image rows.
        width: Image columns.
        others: Channels, latent coordinates and widths of layers, by name.

    Raises:
        ValueError: If the image is too small to be halved thrice, or another size is below 1; all are named.
    """
    faults = [
        f"{name} must be at least {SMALLEST}, got {size}"
        for name, size in (("height", height), ("width", width))
        if size < SMALLEST
    ]
    faults += [f"{name} must be at least 1, got {size}" for name, size in others.items() if size < 1]
    if faults:
        raise ValueError("; ".join(faults))


def perceptron(inputs: int, hidden: int, outputs: int, *, zero_last: bool = False) -> nn.Sequential:
    """Two hidden layers with SiLU.

    Args:
        inputs: Size of the input.
        hidden: Width of the hidden layers.
        outputs: Size of the output.
        zero_last: Whether the output starts at zero for every input.

    Returns:
        The network.
    """
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
    """Convolutions that each halve the image, flattened at the end.

    Positions are kept (no pooling over the image), since where something went is what a change is about.

    Args:
        channels: Channels of the input.
        widths: Channels after each convolution.
        size: Rows and columns of the input.

    Returns:
        The network and the size of its output.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU()]
        channels, size = width, ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return nn.Sequential(*layers, nn.Flatten()), channels * size[0] * size[1]


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation, which does the same in training and in evaluation; no group is a single channel."""
    return nn.GroupNorm(math.gcd(channels // 2, 4) if channels % 2 == 0 else 1, channels)


class ResidualBlock(nn.Module):
    r"""Two convolutions around which the input goes on unchanged; a vector may steer it.

    .. math:: h + C_2\,\phi\big((1 + s(t)) \odot N_2(C_1\,\phi(N_1(h))) + b(t)\big)

    Args:
        width: Channels of input and output.
        inner: Channels between the convolutions; ``width`` if not given.
        told: Size of the vector t that sets scale s and shift b; 0 for none.

    References:
        He et al., *Identity mappings in deep residual networks*, 2016; Perez et al., *FiLM: visual reasoning with a
        general conditioning layer*, 2018.
    """

    def __init__(self, width: int, inner: int | None = None, told: int = 0) -> None:
        super().__init__()
        inner = inner or width
        self.first, self.second = normalisation(width), normalisation(inner)
        self.narrow = nn.Conv2d(width, inner, 3, padding=1)
        self.widen = nn.Conv2d(inner, width, 3, padding=1)
        self.steer = nn.Linear(told, 2 * inner) if told else None

    def forward(self, maps: Tensor, told: Tensor | None = None) -> Tensor:
        inner = self.second(self.narrow(F.silu(self.first(maps))))
        if self.steer is not None:
            scale, shift = self.steer(told)[..., None, None].chunk(2, 1)
            inner = inner * (1 + scale) + shift
        return maps + self.widen(F.silu(inner))
