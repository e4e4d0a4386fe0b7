"""Small networks for recipes and tests: a classifier, a dual classifier of classes and labels, and a U-Net."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cvae import Pretrained
from perturbsets._types import Images, Logits


class SmallConvNet(Pretrained):
    """Strided convolutions and two linear layers; no normalisation over the batch.

    Args:
        channels: Image channels C.
        height: Image rows H; halved by each convolution, at least 1 must be left.
        width: Image columns W, likewise.
        classes: Number of classes K, at least 2.
        hidden: Width of the last hidden layer.
        widths: Channels of each convolution.
        kernel: 3 or 4. Widths of (16, 32), kernel 4 and 100 hidden units are Wong, Rice and Kolter's for MNIST.

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
        *,
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
    """All layers of a :class:`SmallConvNet` but the last: images to ``hidden`` features of 0 or more."""
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


class DualConvNet(Pretrained):
    """A classifier and an auxiliary multi-label classifier to train it with: separate, or two heads on a shared body.

    It is a :class:`~perturbsets.label_states.DualModel`; called with images alone it is a classifier like any other.
    Layers and arguments are those of :class:`SmallConvNet`, and besides ``labels``, the number of labels L, at least 1,
    and ``shared``, whether both share all layers but the last.

    Raises:
        ValueError: If a size is too small.

    Example:
        >>> model, images = DualConvNet(1, 8, 8, classes=10, labels=7, shared=True), torch.rand(2, 1, 8, 8)
        >>> model(images).shape, model.label_branch(images).shape
        (torch.Size([2, 10]), torch.Size([2, 7]))
        >>> [logits.shape for logits in model(images, both=True)]
        [torch.Size([2, 10]), torch.Size([2, 7])]
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        *,
        classes: int = 10,
        labels: int = 7,
        hidden: int = 128,
        widths: tuple[int, ...] = (16, 32, 64),
        kernel: int = 3,
        shared: bool = False,
    ) -> None:
        super().__init__()
        if classes < 2 or labels < 1:
            raise ValueError(f"classes must be at least 2, labels 1, got classes={classes}, labels={labels}")
        self.shared = shared
        self.body = convolutional_body(channels, height, width, hidden, widths, kernel)
        self.class_head = nn.Linear(hidden, classes)
        if not shared:
            self.label_body = convolutional_body(channels, height, width, hidden, widths, kernel)
        self.label_head = nn.Linear(hidden, labels)

    def forward(
        self, images: Images, both: bool = False, class_rows: slice = slice(None), label_rows: slice = slice(None)
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Images in [0, 1] to logits of classes; with ``both``, of classes and of labels, each for its rows."""
        if not both:
            return self.class_branch(images)
        if self.shared:
            features = self.body(images)
            return self.class_head(features[class_rows]), self.label_head(features[label_rows])
        return self.class_branch(images[class_rows]), self.label_branch(images[label_rows])

    @property
    def class_branch(self) -> nn.Sequential:
        """Images to logits of classes, by the same layers."""
        return nn.Sequential(self.body, self.class_head)

    @property
    def label_branch(self) -> nn.Sequential:
        """Images to logits of labels, by the same layers: the auxiliary classifier."""
        return nn.Sequential(self.body if self.shared else self.label_body, self.label_head)


class SmallUNet(Pretrained):
    """A U-Net for segmentation: strided convolutions down, and up again, with skip connections; one class per pixel.

    Images of any size can be segmented; height and width of the constructor are for recipes.

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
        *,
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
