"""A small network that gives every pixel a class."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cvae import Pretrained
from perturbsets._types import Images


class SmallUNet(Pretrained):
    """Convolutions that halve the image step by step, and back up, each step joined with its counterpart.

    Images of any size go through; the sizes of the constructor are those that recipes know.

    Args:
        channels: Image channels C.
        height: Image rows H, at least 8.
        width: Image columns W, at least 8.
        classes: Number of classes K, at least 2.
        widths: Channels at each resolution, fine to coarse.

    Raises:
        ValueError: If a size is too small.

    References:
        Ronneberger, Fischer and Brox, *U-Net: convolutional networks for biomedical image segmentation*, 2015.

    Example:
        >>> SmallUNet(channels=3, height=20, width=30, classes=5)(torch.rand(2, 3, 20, 30)).shape
        torch.Size([2, 5, 20, 30])
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 32,
        width: int = 32,
        classes: int = 10,
        widths: tuple[int, ...] = (16, 32, 64),
    ) -> None:
        super().__init__()
        if channels < 1 or min(height, width) < 8 or classes < 2 or not widths or min(widths) < 1:
            raise ValueError(
                f"channels and widths must be at least 1, height and width 8, classes 2, got channels={channels}, "
                f"height={height}, width={width}, classes={classes}, widths={widths}"
            )
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(before + after, after, 3, padding=1) for before, after in pairwise(reversed(widths))
        )
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Images) -> Float[Tensor, "B K H W"]:
        """Images in [0, 1] to logits of each pixel."""
        maps = [F.relu(self.first(images))]
        for layer in self.down:
            maps.append(F.relu(layer(maps[-1])))
        merged = maps.pop()
        for layer in self.up:
            finer = maps.pop()
            enlarged = F.interpolate(merged, finer.shape[-2:], mode="nearest")
            merged = F.relu(layer(torch.cat([enlarged, finer], 1)))
        return self.last(merged)
