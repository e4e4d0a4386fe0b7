"""Building blocks shared by the architectures."""

from __future__ import annotations

from torch import nn

SMALLEST = 8


def check_sizes(channels: int, height: int, width: int, latent: int) -> None:
    """Refuses sizes that no network can be built for.

    Raises:
        ValueError: If there is no channel or latent, or the image is too small to be halved thrice.
    """
    if channels < 1 or min(height, width) < SMALLEST or latent < 1:
        raise ValueError(
            f"channels must be at least 1, height and width at least {SMALLEST}, latent must be at least 1, got "
            f"channels={channels}, height={height}, width={width}, latent={latent}"
        )


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
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


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
