"""Pairs from scenes seen under several lights: every image of a scene with every other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.files import file_state
from augment.images import ImageError, ImageReader, check_shape, list_images
from augment.pairs.plan import Fault, Made, PairPlan
from augment.provenance import described
from augment.splits import SHARES, check_shares, drawn_split, named_splits, ordered, with_validation

_LIGHT = re.compile(r"dir_(\d+)(?:_mip(\d+))?")


@dataclass(frozen=True)
class Scene:
    """A scene's files.

    Attributes:
        name: Its folder, relative to the root.
        split: Name of its split.
        lights: Files by number of the light.
        materials: Its label map; None if it has none.
    """

    name: str
    split: str
    lights: Mapping[int, Path]
    materials: Path | None


@dataclass(frozen=True, eq=False)
class Scenes:
    """The layout of the multi-illumination data set: a folder per scene, an image per light.

    Images are named ``dir_0.jpg`` to ``dir_24.jpg``, with or without ``_mip2``. Each ordered pair of two of them is a
    pair, in both directions; its condition is the light of the second, and its parameters are the numbers of both
    lights. Images are stored once, however many pairs name them. The scene is what is independent, and the unit of
    the splits: folders named train, validation and test where there are such, of train and test alone with a part of
    train drawn for validation; else all drawn. Draws are by a hash of the scene's name.

    Args:
        root: Folder of the scenes' folders.
        size: Height and width of stored images, as for :class:`PairedFolders`.
        channels: 3 for RGB, 1 for grey.
        lights: Numbers of the lights that count; all if not given.
        mip: Which reduction to read, where scenes hold several: 2 for ``dir_0_mip2.jpg``.
        shares: Share of each split, where folders do not name it.
        seed: For the draw of splits.

    Raises:
        ValueError: If there is no scene, one has fewer than two images, or one holds several reductions.

    References:
        Murmann et al., *A dataset of multi-illumination images in the wild*, ICCV 2019.
    """

    root: Path | str
    size: tuple[int, int] | None = None
    channels: int = 3
    lights: Sequence[int] | None = None
    mip: int | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.channels, self.size)
        check_shares(self.shares)

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """The scenes, in order of name."""
        found: dict[Path, dict[int, Path]] = {}
        materials: dict[Path, Path] = {}
        for path in list_images(self.root):
            light = _LIGHT.fullmatch(path.stem)
            if path.stem == "materials" or path.stem.startswith("materials_mip"):
                if self.mip is None or path.stem == f"materials_mip{self.mip}" or path.parent not in materials:
                    materials[path.parent] = path
            elif light is not None and self._wanted(light):
                mine = found.setdefault(path.parent, {})
                if int(light[1]) in mine:
                    raise ValueError(
                        f"{Path(self.root) / path.parent} must hold one image a light, got {mine[int(light[1])].name} "
                        f"and {path.name}: say which with mip="
                    )
                mine[int(light[1])] = path
        if not found:
            raise ValueError(f"root must hold folders with images named dir_0 to dir_24, got none in {self.root}")
        few = [folder for folder, mine in found.items() if len(mine) < 2]
        if few:
            raise ValueError(f"a scene must have at least two images to make a pair, got one in {few[0]}")
        folders = sorted(found, key=lambda folder: folder.as_posix())
        named = named_splits([folder / "image" for folder in folders])
        names = [folder.as_posix() for folder in folders]
        if named:
            splits = with_validation(named, names, self.shares, self.seed)
        else:
            splits = [drawn_split(name, self.shares, self.seed) for name in names]
        root = Path(self.root)
        return tuple(
            Scene(
                folder.as_posix(),
                split,
                {light: root / path for light, path in sorted(found[folder].items())},
                root / materials[folder] if folder in materials else None,
            )
            for folder, split in zip(folders, splits, strict=True)
        )

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
        images, rows, faults = [], [], []
        for unit in units:
            try:
                image, size = self._read(self._paths[unit])
            except ImageError as error:
                faults.append(Fault("clean", unit, str(error)))
                continue
            self._read.refuse_other_size(self._paths[unit], size)
            images.append(image)
            rows.append(unit)
        found, nothing = np.array(rows, dtype=np.int64), np.zeros(0, dtype=np.int64)
        stacked = torch.stack(images) if images else None
        return Made(stacked, found, np.full(len(rows), -1), None, nothing, tuple(faults))

    def describe(self) -> dict[str, Any]:
        """The arguments and the names of the scenes, in the order of their groups."""
        return {"source": described(self), "scenes": [scene.name for scene in self.scenes]}
