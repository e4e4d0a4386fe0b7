"""Handwritten digits that come with scikit-learn, with a margin so that they can be moved."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from augment._types import Images, Indices, Labels
from augment.sources.source import LabelledImages, in_frame

_ROWS = {"train": range(0, 1197), "validation": range(1197, 1497), "test": range(1497, 1797)}


@dataclass(frozen=True, eq=False)
class Digits(LabelledImages):
    """scikit-learn's 1,797 digits of 8x8 pixels, enlarged and padded with zeros; needs no download.

    Enlarging is bicubic, and clamped to [0, 1]. The splits are rows 0-1196, 1197-1496 and 1497-1796 of the file, whose
    neighbours share a writer: random splits would have writers in common.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        size: Height and width of images, in pixels.
        digit: Height and width of the enlarged digit inside, in pixels; at least 8.

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
    _: KW_ONLY
    size: int = 28
    digit: int = 16

    def __post_init__(self) -> None:
        if self.split not in _ROWS:
            raise ValueError(f"split must be one of {', '.join(_ROWS)}, got {self.split!r}.")
        if self.digit < 8:
            raise ValueError(
                f"digit must be 8 or more, got {self.digit}: the scans have 8×8 pixels, and shrinking them loses "
                "strokes."
            )
        if self.size < self.digit:
            raise ValueError(
                f"size must be at least digit ({self.digit}), got {self.size}: the image holds the whole digit. "
                "Give a larger size or a smaller digit."
            )

    @cached_property
    def _scans(self) -> tuple[Float[Tensor, "N 1 8 8"], Labels, Indices]:
        """Scans of the split in [0, 1], their digits, and their rows in scikit-learn's arrays."""
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # slow to import

        every, rows = load_digits(), _ROWS[self.split]
        scans = torch.from_numpy(every.images[rows.start : rows.stop]).float()[:, None] / 16
        labels = torch.from_numpy(every.target[rows.start : rows.stop].astype(np.int64))
        return scans, labels, torch.arange(rows.start, rows.stop)

    @cached_property
    def images(self) -> Images:
        """All images of the split, float32 in [0, 1]."""
        return framed(self._scans[0], self.size, self.digit)

    @cached_property
    def labels(self) -> Labels:
        """Their digits."""
        return self._scans[1]

    @cached_property
    def indices(self) -> Indices:
        """Their rows in scikit-learn's arrays."""
        return self._scans[2]


def framed(scans: Float[Tensor, "B 1 8 8"], size: int, digit: int) -> Float[Tensor, "B 1 {size} {size}"]:
    """Scans enlarged to `digit` pixels, bicubically, and padded with zeros to `size`; an odd pixel goes after."""
    return in_frame(interpolate(scans, size=(digit, digit), mode="bicubic", align_corners=False).clamp(0, 1), size)
