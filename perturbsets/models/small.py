"""A small convolutional classifier."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from cvae import Pretrained
from perturbsets._types import Images, Logits


class SmallConvNet(Pretrained):
    """Strided convolutions and two linear layers; no normalisation over the batch.

    Args:
        channels: Image channels C.
        height: Image rows H; halved by each convolution, which must leave at least 1.
        width: Image columns W, likewise.
        classes: Number of classes K, at least 2.
        hidden: Width of the last hidden layer.
        widths: Channels of each convolution.
        kernel: Size of its kernels, 3 or 4. With widths of (16, 32), 4 and 100 hidden this is the network of Wong, Rice
            and Kolter for MNIST.

    Raises:
        ValueError: If a size is too small.

    References:
        Wong, Rice and Kolter, *Fast is better than free*, 2020, sec. 5.1.
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        classes: int = 10,
        hidden: int = 128,
        widths: tuple[int, ...] = (16, 32, 64),
        kernel: int = 3,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        body = convolutional_body(channels, height, width, hidden, widths, kernel)
        self.layers = nn.Sequential(*body, nn.Linear(hidden, classes))

    def forward(self, images: Images) -> Logits:
        """Images in [0, 1] to logits."""
        return self.layers(images)


def convolutional_body(
    channels: int, height: int, width: int, hidden: int, widths: tuple[int, ...], kernel: int
) -> nn.Sequential:
    """All layers of a :class:`SmallConvNet` but the last: images to ``hidden`` features of 0 or more.

    Raises:
        ValueError: If a size is too small.
    """
    if channels < 1 or min(height, width) < 2 ** len(widths) or hidden < 1:
        raise ValueError(
            f"channels and hidden must be at least 1, height and width {2 ** len(widths)}, got channels={channels}, "
            f"height={height}, width={width}, hidden={hidden}"
        )
    if not widths or min(widths) < 1 or kernel not in (3, 4):
        raise ValueError(f"widths must be 1 or more each, kernel 3 or 4, got widths={widths}, kernel={kernel}")
    layers: list[nn.Module] = []
    for before, after in pairwise([channels, *widths]):
        layers += [nn.Conv2d(before, after, kernel, stride=2, padding=1), nn.ReLU()]
        height, width = ((size + 4 - kernel) // 2 for size in (height, width))
    layers += [nn.Flatten(), nn.Linear(widths[-1] * height * width, hidden), nn.ReLU()]
    return nn.Sequential(*layers)
