"""A small network for two label spaces: one class of an image, and the states of many labels."""

from __future__ import annotations

from torch import Tensor, nn

from cvae import Pretrained
from perturbsets._types import Images
from perturbsets.models.small import convolutional_body

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
