"""Scenes under several lights with the material of every pixel: images and label maps for segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from augment._types import Images, Indices
from augment.files import FileSettings
from augment.images import read_images, read_labels
from augment.pairs import Scene, Scenes
from augment.splits import in_split

IGNORED = 255


@dataclass(frozen=True, eq=False)
class SceneMaterials(FileSettings):
    """All images of the scenes of a split, each with its scene's label map.

    Splits are those of :class:`Scenes` with the same arguments, so that a set learned from pairs of scenes and a
    network trained on images have the same splits.

    Args:
        split: The split.
        root: Folder of the scenes' folders; each holds its images and a ``materials.png``, with or without ``_mip2``.
        size: Height and width, to which images (bilinear) and label maps (nearest neighbour) are scaled and cropped.
        materials: Number of materials; pixels with other numbers become 255, which losses ignore.
        lights: As for :class:`Scenes`, like ``mip``, ``channels``, ``shares`` and ``seed``.
        mip: As for :class:`Scenes`.

    Raises:
        ValueError: If the split holds no scene, or a scene has no label map.
        ImageError: When a file is read that cannot be used.
    """

    ignored: ClassVar[int] = IGNORED

    split: str = "train"
    root: Path | str = "data/multi-illumination"
    _: KW_ONLY
    size: tuple[int, int] = (64, 96)
    materials: int = 36
    lights: Sequence[int] | None = None
    mip: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.materials <= IGNORED:
            raise ValueError(f"materials must be within 1 and {IGNORED}, got {self.materials}")

    @cached_property
    def _images(self) -> list[tuple[int, Scene, Path]]:
        """Position among all images, scene and file of each image of the split."""
        scenes = Scenes(self.root, lights=self.lights, mip=self.mip, shares=self.shares, seed=self.seed).scenes
        every = [(scene, path) for scene in scenes for path in scene.lights.values()]
        numbers = in_split(self.split, [scene.split for scene, _ in every], self.root, "scenes")
        chosen = [(number, *every[number]) for number in numbers]
        for _, scene, _ in chosen:
            if scene.materials is None:
                raise ValueError(f"{Path(self.root) / scene.name} must hold a label map materials.png, got none")
        return chosen

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the materials by their numbers: the data set has no names."""
        return tuple(f"material {number}" for number in range(self.materials))

    @property
    def indices(self) -> Indices:
        """Position of each image among those of all scenes."""
        return torch.tensor([number for number, _, _ in self._images], dtype=torch.int64)

    @property
    def groups(self) -> Indices:
        """Position of the first image of each image's scene among those of all scenes."""
        first: dict[str, int] = {}
        return torch.tensor([first.setdefault(scene.name, number) for number, scene, _ in self._images])

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Images, Int64[Tensor, "B H W"]]:
        """Images in [0, 1] and label maps at positions of this split."""
        size = (self.size[0], self.size[1])
        chosen = [self._images[int(index)] for index in indices]
        maps = {scene.name: read_labels(str(scene.materials), size) for _, scene, _ in chosen}
        images = read_images([path for _, _, path in chosen], channels=self.channels, size=size)
        labels = torch.stack([maps[scene.name] for _, scene, _ in chosen]).long()
        return images, labels.where(labels < self.materials, IGNORED)
