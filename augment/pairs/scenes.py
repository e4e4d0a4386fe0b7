"""Pairs from scenes under several lights: every image of a scene with every other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment.files import FileSettings, file_state
from augment.images import ImageError, ImageReader, list_images
from augment.pairs.plan import Fault, Made, PairPlan, stacked
from augment.provenance import described
from augment.splits import assigned_splits, named_splits, ordered

_LIGHT = re.compile(r"dir_(\d+)(?:_mip(\d+))?")


@dataclass(frozen=True)
class Scene:
    """A scene: its folder relative to the root, its split, files by number of the light, and label map if any."""

    name: str
    split: str
    lights: Mapping[int, Path]
    materials: Path | None


@dataclass(frozen=True, eq=False)
class Scenes(FileSettings):
    """Pairs each image of a scene with each other, in the layout of the multi-illumination data set.

    Each scene is a folder of images ``dir_0.jpg`` to ``dir_24.jpg``, one per light, with or without ``_mip2``. Every
    ordered pair of two of them is a pair; its condition is the light of the second image, and its parameters are the
    numbers of both lights. Each image is stored once. Scenes are the independent units. If folders are named train,
    validation and test, they are the splits; of train and test alone, a part of train is drawn for validation.
    Otherwise splits are drawn. Draws are by a hash of the scene's name.

    Args:
        root: Folder of the scenes' folders.
        lights: Numbers of the lights to use; all if not given.
        mip: The reduction to read if scenes hold several: 2 for ``dir_0_mip2.jpg``.
        size: As for :class:`PairedFolders`, like `channels`, `shares` and `seed`.

    Raises:
        ValueError: If there is no scene, one has fewer than two images, or one holds several reductions.

    References:
        Murmann et al., *A dataset of multi-illumination images in the wild*, ICCV 2019.
    """

    root: Path | str
    _: KW_ONLY
    lights: Sequence[int] | None = None
    mip: int | None = None

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """The scenes, in order of name."""
        images, materials = self._listed()
        if not images:
            raise ValueError(f"root must hold folders with images named dir_0 to dir_24, got none in {self.root}")
        few = [folder for folder, lights in images.items() if len(lights) < 2]
        if few:
            raise ValueError(f"a scene must have at least two images to make a pair, got one in {few[0]}")
        folders = sorted(images, key=lambda folder: folder.as_posix())
        named = named_splits([folder / "image" for folder in folders])
        names = [folder.as_posix() for folder in folders]
        splits = assigned_splits(named, names, self.shares, self.seed)
        root = Path(self.root)
        return tuple(
            Scene(
                name,
                split,
                {light: root / path for light, path in sorted(images[folder].items())},
                root / materials[folder] if folder in materials else None,
            )
            for folder, name, split in zip(folders, names, splits, strict=True)
        )

    def _listed(self) -> tuple[dict[Path, dict[int, Path]], dict[Path, Path]]:
        """Images by folder and light, and label maps by folder, relative to the root."""
        images: dict[Path, dict[int, Path]] = {}
        materials: dict[Path, Path] = {}
        for path in list_images(self.root):
            light = _LIGHT.fullmatch(path.stem)
            if path.stem == "materials" or path.stem.startswith("materials_mip"):
                if self.mip is None or path.stem == f"materials_mip{self.mip}" or path.parent not in materials:
                    materials[path.parent] = path
            elif light is not None and self._wanted(light):
                lights = images.setdefault(path.parent, {})
                if int(light[1]) in lights:
                    raise ValueError(
                        f"{Path(self.root) / path.parent} must hold one image a light, got "
                        f"{lights[int(light[1])].name} and {path.name}: choose one with mip="
                    )
                lights[int(light[1])] = path
        return images, materials

    def _wanted(self, light: re.Match[str]) -> bool:
        return (self.lights is None or int(light[1]) in self.lights) and (self.mip is None or light[2] == str(self.mip))

    @cached_property
    def _paths(self) -> list[Path]:
        return [path for scene in self.scenes for path in scene.lights.values()]

    @cached_property
    def _read(self) -> ImageReader:
        return ImageReader(self._paths, self.channels, self.size)

    @cached_property
    def _plan(self) -> PairPlan:
        names = ordered([scene.split for scene in self.scenes])
        names = names if set(names) - set(self.shares) else tuple(self.shares)
        lights = np.array([light for scene in self.scenes for light in scene.lights], dtype=np.int64)
        group = np.repeat(np.arange(len(self.scenes)), [len(scene.lights) for scene in self.scenes])
        split = np.array([names.index(scene.split) for scene in self.scenes], dtype=np.int64)[group]
        sources, targets, first = [], [], 0
        for scene in self.scenes:
            count = len(scene.lights)
            one, other = np.divmod(np.arange(count * count), count)
            sources.append(first + one[one != other])
            targets.append(first + other[one != other])
            first += count
        source, target = np.concatenate(sources), np.concatenate(targets)
        known = np.unique(lights)
        return PairPlan(
            splits=names,
            conditions=tuple(f"dir_{light}" for light in known),
            parameter_names=("from_light", "to_light"),
            origin=np.arange(len(lights)),
            split=split,
            group=group,
            source=source,
            target=target,
            condition=np.searchsorted(known, lights[target]),
            parameters=np.stack([lights[source], lights[target]], 1).astype(np.float32),
            clean_starts=np.arange(len(lights) + 1),
            changed_starts=None,
            state=file_state(self._paths),
        )

    def plan(self) -> PairPlan:
        """All ordered pairs of each scene."""
        return self._plan

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """Reads images; those that cannot be used are faults."""
        images, faults = dict[int, Tensor](), list[Fault]()
        for unit in units:
            try:
                images[unit], size = self._read(self._paths[unit])
            except ImageError as error:
                faults.append(Fault("clean", unit, str(error)))
            else:
                self._read.refuse_other_size(self._paths[unit], size)
        return Made(*stacked(images), np.full(len(images), -1), *stacked({}), tuple(faults))

    def describe(self) -> dict[str, Any]:
        """The arguments and the names of the scenes, in the order of their groups."""
        return {"source": described(self), "scenes": [scene.name for scene in self.scenes]}
