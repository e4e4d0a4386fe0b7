"""Handwritten digits of MNIST, through torchvision."""

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

TRAINING, TEST = 60_000, 10_000
SIDE = 28  # rows and columns of the images as they are published


@dataclass(frozen=True, eq=False)
class MNIST(Dataset[tuple[Float[Tensor, "1 H W"], int]]):
    """60,000 training and 10,000 test images; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/MNIST/raw``.
        held: Number of training images that are kept for validation.
        size: Rows and columns, 28 or more: the images lie in the middle of a frame of zeros.

    Raises:
        ValueError: If the split is unknown, a number is outside of its range, or the split would be empty.
        OSError: When images are first asked for, if the files are neither there nor to be had.

    References:
        LeCun, Cortes and Burges, *The MNIST database of handwritten digits*, 1998.
    """

    name: ClassVar[str] = "mnist"
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")

    split: str = "train"
    root: str = "data/mnist"
    held: int = 5000
    size: int = SIDE

    def __post_init__(self) -> None:
        if self.split not in ("train", "validation", "test"):
            raise ValueError(f"split must be one of train, validation, test, got {self.split!r}.")
        if not 0 <= self.held < TRAINING:
            raise ValueError(f"held must be within 0 and {TRAINING - 1}, got {self.held}.")
        if self.size < SIDE:
            raise ValueError(f"size must be {SIDE} or more, got {self.size}: images are framed, never shrunk.")
        if self.split == "validation" and not self.held:
            raise ValueError(
                "held must be at least 1 for a validation split, got 0: it is taken from the training set."
            )

    @property
    def _rows(self) -> range:
        """Where the split lies among the training images, followed by the test images."""
        kept = TRAINING - self.held
        rows = {"train": range(kept), "validation": range(kept, TRAINING), "test": range(TRAINING, TRAINING + TEST)}
        return rows[self.split]

    @cached_property
    def _data(self) -> tuple[UInt8[Tensor, "N 1 H W"], Labels]:
        data = _read(Path(self.root), train=self.split != "test")
        first = self._rows.start % TRAINING
        rows = slice(first, first + len(self._rows))
        before = (self.size - SIDE) // 2
        after = self.size - SIDE - before
        return pad(data.data[rows, None], (before, after, before, after)), data.targets[rows]

    @property
    def images(self) -> UInt8[Tensor, "N 1 H W"]:
        """All images of the split."""
        return self._data[0]

    @property
    def labels(self) -> Labels:
        """Their digits."""
        return self._data[1]

    @property
    def indices(self) -> Indices:
        """Their rows in the data set; test images follow the 60,000 training images."""
        return torch.arange(self._rows.start, self._rows.stop)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "1 H W"], int]:
        """One image and its digit."""
        return self.images[index].float() / 255, int(self.labels[index])

    def batch(self, indices: Sequence[int] | Tensor | np.ndarray) -> tuple[Images, Labels]:
        """Images in [0, 1] and digits at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return self.images[positions].float() / 255, self.labels[positions]


def _read(root: Path, *, train: bool) -> Any:
    import torchvision

    try:
        return torchvision.datasets.MNIST(root, train=train, download=True)  # reads what is there already
    except (RuntimeError, OSError) as error:
        raise OSError(
            f"root must hold the files of MNIST in {root / 'MNIST' / 'raw'}, or a network from which to download them "
            f"({error}): copy the four idx files, packed or not, into that folder"
        ) from error
