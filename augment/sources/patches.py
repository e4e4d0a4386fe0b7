"""Colour patches of two photographs that come with scikit-learn."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from augment._types import Indices, Labels
from augment.sources.source import LabelledImages

SKY, BUILDING, TREES, LEAVES, PETALS = range(5)
_HEIGHT, _WIDTH = 427, 640
_SPLITS = {"train": (0, 2, 4), "validation": (1,), "test": (3,)}

# Regions of the classes, drawn by hand over each photograph: polygons x, y, x, y, … in pixels; later ones cover earlier
# ones.
# fmt: off
_TEMPLE = (
    (TREES, (0, 140, 30, 185, 75, 230, 62, 255, 30, 250, 0, 275)),
    (TREES, (0, 290, 45, 330, 75, 340, 150, 335, 250, 390, 320, 427, 0, 427)),
    (TREES, (320, 427, 335, 375, 385, 335, 450, 305, 530, 275, 565, 290, 548, 235, 600, 135, 640, 160, 640, 427)),
    (BUILDING, (
        205, 28, 225, 72, 272, 105, 322, 125, 297, 160, 332, 178, 322, 235, 354, 258, 342, 300, 350, 320, 372, 340,
        335, 375, 305, 427, 205, 380, 150, 335, 75, 335, 62, 270, 100, 235, 82, 180, 120, 155, 94, 125, 188, 70,
    )),
)
_DAHLIA = (
    (PETALS, (
        168, 215, 190, 135, 245, 95, 310, 85, 375, 105, 425, 150, 446, 225, 428, 290, 375, 340, 300, 360, 235, 340,
        185, 285,
    )),
    (PETALS, (288, 403, 340, 375, 400, 380, 440, 415, 470, 427, 300, 427)),
)
# fmt: on


@dataclass(frozen=True, eq=False)
class Patches(LabelledImages):
    """Square crops of two photographs, a temple above a lake and a dahlia, labelled by region; needs no download.

    The label is the region that covers most pixels; regions are drawn by hand, and the lake counts as sky. Each
    photograph is cut into blocks of twice the patch size with gaps between them. Patches lie inside one block, and
    splits have alternating blocks, so that they have all classes and no pixel in common. Patches of a block overlap, so
    they are not independent: `groups` numbers the blocks.

    Args:
        split: ``"train"`` (three of five blocks), ``"validation"`` or ``"test"`` (one of five each).
        size: Height and width of patches, 8 to 96 pixels.
        stride: Distance of neighbouring patches in pixels; an eighth of the size if not given.

    Raises:
        ValueError: If an argument is out of range.

    References:
        Photographs by King of Hearts and by dany13 (CC BY), through ``sklearn.datasets.load_sample_images``.

    Example:
        >>> patches = Patches("test")
        >>> images, labels = patches.batch([0, 1])
        >>> tuple(images.shape), patches.classes[int(labels[0])]
        ((2, 3, 32, 32), 'sky')
    """

    name: ClassVar[str] = "patches"
    classes: ClassVar[tuple[str, ...]] = ("sky", "building", "trees", "leaves", "petals")

    split: str = "train"
    _: KW_ONLY
    size: int = 32
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ValueError(f"split must be one of {', '.join(_SPLITS)}, got {self.split!r}.")
        if not 8 <= self.size <= 96:
            raise ValueError(f"size must be within 8 and 96 pixels, got {self.size}.")
        if self.stride is not None and not 1 <= self.stride <= self.size:
            raise ValueError(f"stride must be within 1 and the size ({self.size}), got {self.stride}.")

    @property
    def _pitch(self) -> int:
        """Distance of neighbouring blocks in pixels."""
        return 2 * self.size + self.size // 4

    @cached_property
    def corners(self) -> Int64[Tensor, "N 3"]:
        """Photograph, first row and first column of each patch."""
        pitch = self._pitch
        rows, columns = ((side + self.size // 4) // pitch for side in (_HEIGHT, _WIDTH))
        offsets = range(0, self.size + 1, self.stride or max(1, self.size // 8))
        return torch.tensor(
            [
                (photograph, row * pitch + down, column * pitch + right)
                for photograph in (0, 1)
                for row in range(rows)
                for column in range(columns)
                if (2 * row + column) % 5 in _SPLITS[self.split]
                for down in offsets
                for right in offsets
            ]
        )

    @cached_property
    def images(self) -> UInt8[Tensor, "N 3 H W"]:
        """All patches."""
        return self._cut(_photographs().permute(0, 3, 1, 2))

    @cached_property
    def labels(self) -> Labels:
        """The most frequent region of each patch."""
        regions = self._cut(_label_maps()[:, None]).flatten(1).long()
        return torch.stack([(regions == label).sum(1) for label in range(len(self.classes))]).argmax(0)

    def _cut(self, photographs: Tensor) -> Tensor:
        windows = photographs.unfold(2, self.size, 1).unfold(3, self.size, 1)
        photograph, row, column = self.corners.unbind(1)
        return windows[photograph, :, row, column].contiguous()

    @property
    def groups(self) -> Indices:
        """Number of each patch's block, over both photographs."""
        photograph, row, column = self.corners.unbind(1)
        return (photograph * _HEIGHT + row // self._pitch) * _WIDTH + column // self._pitch

    @property
    def indices(self) -> Indices:
        """Number of each patch's first pixel, over both photographs."""
        photograph, row, column = self.corners.unbind(1)
        return (photograph * _HEIGHT + row) * _WIDTH + column


def _photographs() -> UInt8[Tensor, "2 H W 3"]:
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]  # slow to import

    return torch.from_numpy(np.stack(load_sample_images().images))


def _label_maps() -> UInt8[Tensor, "2 H W"]:
    from PIL import Image, ImageDraw

    maps = []
    for background, shapes in ((SKY, _TEMPLE), (LEAVES, _DAHLIA)):
        drawn = Image.new("L", (_WIDTH, _HEIGHT), background)
        for label, corners in shapes:
            ImageDraw.Draw(drawn).polygon(corners, fill=label)
        maps.append(np.array(drawn))
    return torch.from_numpy(np.stack(maps))
