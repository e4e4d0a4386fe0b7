"""Pairs of image files: a clean image is read together with its changed ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment.files import FileSettings, file_state
from augment.images import ImageError, ImageReader
from augment.pairs.plan import Fault, Made, PairPlan, starts
from augment.provenance import described
from augment.splits import drawn_split, ordered


@dataclass(frozen=True)
class FilePair:
    """Two image files of the same scene.

    Attributes:
        clean: The clean image.
        changed: The changed image.
        condition: What changed it.
        group: Name of the independent unit.
        split: Name of the split; None if it is to be drawn.
        label: Class, -1 where there is none.
    """

    clean: Path
    changed: Path
    condition: str
    group: str
    split: str | None = None
    label: int = -1


class FilePairs:
    """Plans and reads pairs of files; a clean image with several changed ones is read and stored once.

    Args:
        pairs: The files.
        settings: Shape of stored images, and the draw of splits where pairs name none.

    Raises:
        ValueError: If there are no pairs, only some name a split, or a clean image has two groups, splits or labels.
    """

    def __init__(self, pairs: Sequence[FilePair], settings: FileSettings) -> None:
        if not pairs:
            raise ValueError("pairs must hold at least one pair of files, got none")
        self._changed: dict[Path, list[FilePair]] = {}
        for pair in pairs:
            others = self._changed.setdefault(pair.clean, [])
            others.append(pair)
            first = others[0]
            if (first.group, first.split, first.label) != (pair.group, pair.split, pair.label):
                raise ValueError(
                    f"a clean image must have one group, split and label, got two for {pair.clean}: "
                    f"{(first.group, first.split, first.label)} and {(pair.group, pair.split, pair.label)}"
                )
        self._clean = list(self._changed)
        firsts = [others[0] for others in self._changed.values()]
        self._labels = np.array([first.label for first in firsts], dtype=np.int64)
        self._read = ImageReader(self._clean, settings.channels, settings.size)
        self.plan = self._planned(firsts, settings.shares, settings.seed)

    def _planned(self, firsts: list[FilePair], shares: Mapping[str, float], seed: int) -> PairPlan:
        given = [first.split for first in firsts]
        if None in given and any(split is not None for split in given):
            without = firsts[given.index(None)].clean
            raise ValueError(f"either all pairs or none must name a split, got none for {without}")
        splits = [first.split or drawn_split(first.group, shares, seed) for first in firsts]
        names = tuple(shares) if None in given else ordered(splits)
        pairs = [pair for others in self._changed.values() for pair in others]
        conditions = sorted({pair.condition for pair in pairs})
        counts = np.array([len(others) for others in self._changed.values()], dtype=np.int64)
        groups: dict[str, int] = {}
        return PairPlan(
            splits=names,
            conditions=tuple(conditions),
            parameter_names=(),
            origin=np.arange(len(firsts)),
            split=_numbers(splits, names),
            group=np.array([groups.setdefault(first.group, len(groups)) for first in firsts], dtype=np.int64),
            source=np.repeat(np.arange(len(firsts)), counts),
            target=np.arange(len(pairs)),
            condition=_numbers([pair.condition for pair in pairs], conditions),
            parameters=np.zeros((len(pairs), 0), dtype=np.float32),
            clean_starts=np.arange(len(firsts) + 1),
            changed_starts=starts(counts),
            state=file_state([*self._clean, *(pair.changed for pair in pairs)]),
        )

    def make(self, units: range) -> Made:
        """Reads files; those that cannot be used are faults."""
        clean, changed = _Rows(), _Rows()
        faults: list[Fault] = []
        begin = self.plan.changed_starts
        assert begin is not None
        for unit in units:
            path = self._clean[unit]
            try:
                image, size = self._read(path)
            except ImageError as error:
                faults.append(Fault("clean", unit, str(error)))
                continue
            self._read.refuse_other_size(path, size)
            clean.add(unit, image)
            for row, pair in enumerate(self._changed[path], start=int(begin[unit])):
                try:
                    other, other_size = self._read(pair.changed)
                    if other_size != size:
                        raise ImageError(
                            f"the images of a pair must have one size, got {size[0]}×{size[1]} in {path} and "
                            f"{other_size[0]}×{other_size[1]} in {pair.changed}"
                        )
                    changed.add(row, other)
                except ImageError as error:
                    faults.append(Fault("changed", row, str(error)))
        rows = clean.numbers()
        return Made(clean.images(), rows, self._labels[rows], changed.images(), changed.numbers(), tuple(faults))


@dataclass(frozen=True, eq=False)
class PairedFiles(FileSettings):
    """Base of pair sources that pair image files."""

    @property
    @abstractmethod
    def _files(self) -> FilePairs:
        """The files, listed at the first use."""

    def plan(self) -> PairPlan:
        """A pair of images for each pair of files."""
        return self._files.plan

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """Reads images of some units."""
        return self._files.make(units)

    def describe(self) -> dict[str, Any]:
        """The arguments."""
        return {"source": described(self)}


class _Rows:
    def __init__(self) -> None:
        self._rows: list[int] = []
        self._images: list[Tensor] = []

    def add(self, row: int, image: Tensor) -> None:
        self._rows.append(row)
        self._images.append(image)

    def images(self) -> Tensor | None:
        return torch.stack(self._images) if self._images else None

    def numbers(self) -> np.ndarray:
        return np.array(self._rows, dtype=np.int64)


def _numbers(names: Sequence[str], among: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(among)}
    return np.array([numbers[name] for name in names], dtype=np.int64)
