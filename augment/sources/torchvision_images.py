"""What the data sets of torchvision share: splits, and images that are read when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from augment._types import Images, Indices, Labels


@dataclass(frozen=True, eq=False)
class TorchvisionImages(Dataset[tuple[Float[Tensor, "C H W"], int]]):
    """Base of data sets with a training and a test part that torchvision reads or downloads.

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
            raise ValueError(f"size must be at least {self.side}, got {self._frame}: the frame holds the whole image.")

    @property
    def _frame(self) -> int:
        """Height and width of an image with its frame."""
        return getattr(self, "size", self.side)

    @property
    def _rows(self) -> range:
        """Where the split lies among the training images, followed by the test images."""
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
        before = (self._frame - self.side) // 2
        after = self._frame - self.side - before
        return pad(images, (before, after, before, after)).contiguous(), torch.as_tensor(data.targets)[rows]

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

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "C H W"], int]:
        """One image and its class."""
        return self.images[index].float() / 255, int(self.labels[index])

    def batch(self, indices: Sequence[int] | Tensor | np.ndarray) -> tuple[Images, Labels]:
        """Images in [0, 1] and classes at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return self.images[positions].float() / 255, self.labels[positions]


# Small photographs of CIFAR-10, through torchvision.


@dataclass(frozen=True, eq=False)
class CIFAR10(TorchvisionImages):
    """50,000 training and 10,000 test images of 3×32×32; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/cifar-10-batches-py``, or the packed file. They
            are pickles, which torchvision reads only if their checksums are those of the published ones.
        held: Number of training images that are kept for validation.

    Raises:
        ValueError: If the split is unknown, the number held is outside of its range, or the split would be empty.
        OSError: When images are first asked for, if the files are neither there nor to be had.

    References:
        Krizhevsky, *Learning multiple layers of features from tiny images*, 2009.
    """

    name: ClassVar[str] = "cifar10"
    title: ClassVar[str] = "CIFAR-10"
    classes: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    training: ClassVar[int] = 50_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 32
    files: ClassVar[str] = "cifar-10-batches-py"

    root: str = "data/cifar10"


# Pieces of clothing of Fashion-MNIST, through torchvision.


@dataclass(frozen=True, eq=False)
class FashionMNIST(TorchvisionImages):
    """60,000 training and 10,000 test images of 28×28 pixels; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/FashionMNIST/raw``.
        held: Number of training images that are kept for validation.
        size: Height and width of images; those above 28 frame the image in zeros, centred (an odd pixel goes after).

    Raises:
        ValueError: As for :class:`MNIST`.
        OSError: When images are first asked for, if the files are neither there nor to be had.

    References:
        Xiao, Rasul and Vollgraf, *Fashion-MNIST* (arXiv 1708.07747).
    """

    name: ClassVar[str] = "fashion-mnist"
    title: ClassVar[str] = "Fashion-MNIST"
    classes: ClassVar[tuple[str, ...]] = (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    training: ClassVar[int] = 60_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 28
    files: ClassVar[str] = "FashionMNIST/raw"

    root: str = "data/fashion-mnist"
    size: int = 28


# Handwritten digits of MNIST, through torchvision.


@dataclass(frozen=True, eq=False)
class MNIST(TorchvisionImages):
    """60,000 training and 10,000 test images of 28×28 pixels; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/MNIST/raw``.
        held: Number of training images that are kept for validation.
        size: Height and width of images; those above 28 frame the image in zeros, centred (an odd pixel goes after).

    Raises:
        ValueError: If the split is unknown, the number held is outside of its range, the split would be empty, or
            `size` is below 28.
        OSError: When images are first asked for, if the files are neither there nor to be had.

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
    size: int = 28
