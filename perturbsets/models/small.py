"""A small convolutional classifier."""

from __future__ import annotations

from torch import nn

from cvae import Pretrained
from perturbsets._types import Images, Logits


class SmallConvNet(Pretrained):
    """Three strided convolutions and two linear layers; no normalisation over the batch.

    Args:
        channels: Image channels C.
        height: Image rows H, at least 8.
        width: Image columns W, at least 8.
        classes: Number of classes K, at least 2.
        hidden: Width of the last hidden layer.

    Raises:
        ValueError: If a size is too small.
    """

    def __init__(
        self, channels: int = 1, height: int = 28, width: int = 28, classes: int = 10, hidden: int = 128
    ) -> None:
        super().__init__()
        if channels < 1 or min(height, width) < 8 or classes < 2 or hidden < 1:
            raise ValueError(
                "channels and hidden must be at least 1, height and width 8, classes 2, got "
                f"channels={channels}, height={height}, width={width}, classes={classes}, hidden={hidden}"
            )
        layers: list[nn.Module] = []
        for before, after in ((channels, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
            height, width = (height + 1) // 2, (width + 1) // 2
        layers += [
            nn.Flatten(),
            nn.Linear(64 * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Images) -> Logits:
        """Images in [0, 1] to logits."""
        return self.layers(images)
