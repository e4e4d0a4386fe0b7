"""Handwritten digits that come with scikit-learn, placed in a frame so that they can move."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset

from augment._types import Images, Indices, Labels

# Contiguous, because neighbours in the file were written by the same hand: a random split would put one
# writer's digits on both sides.
_ROWS = {"train": range(0, 1197), "validation": range(1197, 1497), "test": range(1497, 1797)}


@dataclass(frozen=True, eq=False)
class Digits(Dataset[tuple[Float[Tensor, "1 H W"], int]]):
    """1,797 scans of 8×8 pixels, enlarged bicubically and framed in zeros; needs no download.

    Pixels are clean / 16, clamped to [0, 1] after enlarging. The splits are runs of the file's order, rows 0-1196,
    1197-1496 and 1497-1796: neighbours in the file share a writer, so a random split would leak handwriting.

    Args:
        split: Which run.
        size: Height and width of the frame, in pixels.
        digit: Height and width of the enlarged scan inside it, in pixels; at least 8.

    Attributes:
        images: All images of the split, float32 in [0, 1].
        labels: Their digits.
        indices: Their rows in scikit-learn's arrays.

    Raises:
        ValueError: If `split` is unknown, `digit` below 8, or `size` below `digit`.

    References:
        Alpaydin and Kaynak, *Optical recognition of handwritten digits*, UCI, 1998 (its test set), through
        ``sklearn.datasets.load_digits``.

    Example:
        >>> digits = Digits("test")
        >>> images, labels = digits.batch([0, 1])
        >>> len(digits), tuple(images.shape), labels.tolist()
        (300, (2, 1, 28, 28), [6, 3])
    """

    name: ClassVar[str] = "digits"
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")

    split: str = "train"
    size: int = 28
    digit: int = 16
    images: Images = field(init=False, repr=False)
    labels: Labels = field(init=False, repr=False)
    indices: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_digits(self.split, self.size, self.digit)
        scans, labels, indices = read_scans(self.split)
        object.__setattr__(self, "images", framed(scans, self.size, self.digit))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "indices", indices)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "1 H W"], int]:
        """One image and its digit."""
        return self.images[index].clone(), int(self.labels[index])

    def batch(self, indices: Sequence[int] | Tensor | np.ndarray) -> tuple[Images, Labels]:
        """Images and digits at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return self.images[positions], self.labels[positions]


def check_digits(split: str, size: int, digit: int) -> None:
    """Refuses splits, frames and digits that do not exist or do not fit; see :class:`Digits`."""
    if split not in _ROWS:
        raise ValueError(f"split must be one of {', '.join(_ROWS)}, got {split!r}.")
    if digit < 8:
        raise ValueError(
            f"digit must be 8 or more, got {digit}: the scans have 8×8 pixels, and shrinking them loses strokes."
        )
    if size < digit:
        raise ValueError(
            f"size must be at least digit ({digit}), got {size}: the frame holds the whole digit. "
            "Give a larger size or a smaller digit."
        )


def read_scans(split: str) -> tuple[Float[Tensor, "B 1 8 8"], Labels, Indices]:
    """The scans of a split as they are, 8×8 pixels in [0, 1]; their digits; and their rows in scikit-learn's arrays."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # slow to import

    every, rows = load_digits(), _ROWS[split]
    scans = torch.from_numpy(every.images[rows.start : rows.stop]).float()[:, None] / 16
    labels = torch.from_numpy(every.target[rows.start : rows.stop].astype(np.int64))
    return scans, labels, torch.arange(rows.start, rows.stop)


def framed(scans: Float[Tensor, "B 1 8 8"], size: int, digit: int) -> Float[Tensor, "B 1 {size} {size}"]:
    """Scans enlarged to `digit` pixels, bicubically, amid `size` pixels of zeros; an odd pixel goes after."""
    large = interpolate(scans, size=(digit, digit), mode="bicubic", align_corners=False)
    before = (size - digit) // 2
    after = size - digit - before
    return pad(large.clamp(0, 1), (before, after, before, after))
