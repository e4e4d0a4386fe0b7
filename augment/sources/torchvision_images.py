"""CIFAR-10, MNIST and Fashion-MNIST, which torchvision reads or downloads."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from augment._types import Indices, Labels
from augment.sources.source import LabelledImages, in_frame


@dataclass(frozen=True, eq=False)
class TorchvisionImages(LabelledImages):
    """Base of torchvision's data sets with a training and a test part, read at the first use of an image.

    A subclass names the data set in its class variables, and gives `root` a default.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    training: ClassVar[int]
    tests: ClassVar[int]
    side: ClassVar[int]
    files: ClassVar[str]

    split: str = "train"
    root: str = "data"
    _: KW_ONLY
    held: int = 5000

    def __post_init__(self) -> None:
        if self.split not in ("train", "validation", "test"):
            raise ValueError(f"split must be one of train, validation, test, got {self.split!r}.")
        if not 0 <= self.held < self.training:
            raise ValueError(f"held must be within 0 and {self.training - 1}, got {self.held}.")
        if self.split == "validation" and not self.held:
            raise ValueError(
                "held must be at least 1 for a validation split, got 0: it is taken from the training set."
            )
        if self._frame < self.side:
            raise ValueError(f"size must be at least {self.side}, got {self._frame}: larger sizes are padded.")

    @property
    def _frame(self) -> int:
        """Height and width of an image with its padding."""
        return getattr(self, "size", self.side)

    @property
    def _rows(self) -> range:
        """Rows of the split in the data set: the training images, then the test images."""
        kept, end = self.training - self.held, self.training
        rows = {"train": range(kept), "validation": range(kept, end), "test": range(end, end + self.tests)}
        return rows[self.split]

    @cached_property
    def _data(self) -> tuple[UInt8[Tensor, "N C H W"], Labels]:
        data = self._torchvision(train=self.split != "test")
        first = self._rows.start % self.training
        rows = slice(first, first + len(self._rows))
        pixels = torch.as_tensor(data.data)[rows]  # grey without channels, or colours last
        images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        return in_frame(images, self._frame).contiguous(), torch.as_tensor(data.targets)[rows]

    def _torchvision(self, *, train: bool) -> Any:
        import torchvision

        folder = Path(self.root)
        try:  # reads what is there already
            return getattr(torchvision.datasets, type(self).__name__)(folder, train=train, download=True)
        except (RuntimeError, OSError) as error:
            raise OSError(
                f"root must hold the files of {self.title} in {folder / self.files}, or a network from which to "
                f"download them ({error}): copy its files, packed or not, into that folder"
            ) from error

    @property
    def images(self) -> UInt8[Tensor, "N C H W"]:
        """All images of the split."""
        return self._data[0]

    @property
    def labels(self) -> Labels:
        """Their classes."""
        return self._data[1]

    @property
    def indices(self) -> Indices:
        """Their rows in the data set; test images follow the training images."""
        return torch.arange(self._rows.start, self._rows.stop)


@dataclass(frozen=True, eq=False)
class CIFAR10(TorchvisionImages):
    """CIFAR-10: 50,000 training and 10,000 test images of 3x32x32; downloaded once if they are missing.

    Args:
        split: ``"train"``, ``"validation"`` (the last training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/cifar-10-batches-py``, or the packed file. They
            are pickles, which torchvision reads only if their checksums are those of the published ones.
        held: Number of training images kept for validation.

    Raises:
        ValueError: If the split is unknown or would be empty, or ``held`` is out of range.
        OSError: At the first use of an image, if the files are missing and cannot be downloaded.

    References:
        Krizhevsky, *Learning multiple layers of features from tiny images*, 2009.
    """

    name: ClassVar[str] = "cifar10"
    title: ClassVar[str] = "CIFAR-10"
    classes: ClassVar[tuple[str, ...]] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    training: ClassVar[int] = 50_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 32
    files: ClassVar[str] = "cifar-10-batches-py"

    root: str = "data/cifar10"


@dataclass(frozen=True, eq=False)
class MNIST(TorchvisionImages):
    """MNIST: 60,000 training and 10,000 test images of 28x28 digits; downloaded once if they are missing.

    Args:
        split: ``"train"``, ``"validation"`` (the last training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/MNIST/raw``.
        held: Number of training images kept for validation.
        size: Height and width of images, at least 28; zeros are added on all sides (an odd pixel after).

    Raises:
        ValueError: If the split is unknown or would be empty, or ``held`` or ``size`` is out of range.
        OSError: At the first use of an image, if the files are missing and cannot be downloaded.

    References:
        LeCun, Cortes and Burges, *The MNIST database of handwritten digits*, 1998.
    """

    name: ClassVar[str] = "mnist"
    title: ClassVar[str] = "MNIST"
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    training: ClassVar[int] = 60_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 28
    files: ClassVar[str] = "MNIST/raw"

    root: str = "data/mnist"
    _: KW_ONLY
    size: int = 28


@dataclass(frozen=True, eq=False)
class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 training and 10,000 test images of 28x28 clothes; downloaded once if they are missing.

    Args:
        root: Folder of the files, as torchvision keeps them: ``root/FashionMNIST/raw``; other arguments and errors are
            those of :class:`MNIST`.

    References:
        Xiao, Rasul and Vollgraf, *Fashion-MNIST* (arXiv 1708.07747).
    """

    name: ClassVar[str] = "fashion-mnist"
    title: ClassVar[str] = "Fashion-MNIST"
    classes: ClassVar[tuple[str, ...]] = (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
    files: ClassVar[str] = "FashionMNIST/raw"

    root: str = "data/fashion-mnist"
