"""A small convolutional classifier."""

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


# A small network that gives every pixel a class.


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


# A small network for two label spaces: one class of an image, and the states of many labels.


EVERY = slice(None)


class DualConvNet(Pretrained):
    """A classifier, and a multi-label classifier that helps to train it: apart, or on one body with two heads.

    Both are of the layers of :class:`SmallConvNet`. Called with images alone it is a classifier like any other.

    Args:
        channels: Image channels C.
        height: Image rows H; halved by each convolution, which must leave at least 1.
        width: Image columns W, likewise.
        classes: Number of classes K, at least 2.
        labels: Number of labels L, at least 1.
        hidden: Width of the last hidden layer.
        widths: Channels of each convolution.
        kernel: Size of its kernels, 3 or 4.
        shared: Whether both have all layers but the last in common.

    Raises:
        ValueError: If a size is too small.

    Example:
        >>> import torch
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
        self, images: Images, both: bool = False, class_rows: slice = EVERY, label_rows: slice = EVERY
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Images in [0, 1] to logits of classes, or of classes and of labels.

        Args:
            images: The images.
            both: Whether logits of labels are wanted too.
            class_rows: With ``both``, the images whose logits of classes are wanted.
            label_rows: With ``both``, the images whose logits of labels are wanted.
        """
        if not both:
            return self.class_branch(images)
        if self.shared:
            features = self.body(images)
            return self.class_head(features[class_rows]), self.label_head(features[label_rows])
        return self.class_branch(images[class_rows]), self.label_branch(images[label_rows])

    @property
    def class_branch(self) -> nn.Sequential:
        """Images to logits of classes: a view of the same layers."""
        return nn.Sequential(self.body, self.class_head)

    @property
    def label_branch(self) -> nn.Sequential:
        """Images to logits of labels: a view of the same layers, a multi-label classifier for any adversary."""
        return nn.Sequential(self.body if self.shared else self.label_body, self.label_head)
