"""Building blocks shared by the architectures."""

from __future__ import annotations

from torch import nn

SMALLEST = 8


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
