"""Pairs of image files: a clean image is read together with its changed ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from augment.files import FileSettings, file_state
from augment.images import ImageError, ImageReader
from augment.pairs.plan import Fault, Made, PairPlan, stacked, starts
from augment.provenance import described
from augment.splits import drawn_split, ordered


class FilePair(NamedTuple):
    """Two image files of the same scene: what changed it, its independent unit, split (if it is given) and class."""

    clean: Path
    changed: Path
    condition: str
    group: str
    split: str | None = None
    label: int = -1


@dataclass(frozen=True, eq=False)
class PairedFiles(FileSettings):
    """Base of pair sources that pair image files; a clean image with several changed ones is read and stored once."""

    @abstractmethod
    def _pairs(self) -> list[FilePair]:
        """The pairs of files; either all or none name a split."""

    @cached_property
    def _changed(self) -> dict[Path, list[FilePair]]:
        """The pairs of each clean image."""
        changed: dict[Path, list[FilePair]] = {}
        for pair in self._pairs():
            others = changed.setdefault(pair.clean, [])
            others.append(pair)
            first = others[0]
            if (first.group, first.split, first.label) != (pair.group, pair.split, pair.label):
                raise ValueError(
                    f"a clean image must have one group, split and label, got two for {pair.clean}: "
                    f"{(first.group, first.split, first.label)} and {(pair.group, pair.split, pair.label)}"
                )
        if not changed:
            raise ValueError("pairs must hold at least one pair of files, got none")
        return changed

    @cached_property
    def _clean(self) -> list[Path]:
        return list(self._changed)

    @cached_property
    def _read(self) -> ImageReader:
        return ImageReader(self._clean, self.channels, self.size)

    @cached_property
    def _plan(self) -> PairPlan:
        firsts = [others[0] for others in self._changed.values()]
        given = [first.split for first in firsts]
        if None in given and any(split is not None for split in given):
            without = firsts[given.index(None)].clean
            raise ValueError(f"either all pairs or none must name a split, got none for {without}")
        splits = [first.split or drawn_split(first.group, self.shares, self.seed) for first in firsts]
        names = tuple(self.shares) if None in given else ordered(splits)
        pairs = [pair for others in self._changed.values() for pair in others]
        conditions = sorted({pair.condition for pair in pairs})
        counts = np.array([len(others) for others in self._changed.values()], dtype=np.int64)
        groups = list(dict.fromkeys(first.group for first in firsts))
        return PairPlan(
            splits=names,
            conditions=tuple(conditions),
            parameter_names=(),
            origin=np.arange(len(firsts)),
            split=_numbers(splits, names),
            group=_numbers([first.group for first in firsts], groups),
            source=np.repeat(np.arange(len(firsts)), counts),
            target=np.arange(len(pairs)),
            condition=_numbers([pair.condition for pair in pairs], conditions),
            parameters=np.zeros((len(pairs), 0), dtype=np.float32),
            clean_starts=np.arange(len(firsts) + 1),
            changed_starts=starts(counts),
            state=file_state([*self._clean, *(pair.changed for pair in pairs)]),
        )

    def plan(self) -> PairPlan:
        """A pair of images for each pair of files."""
        return self._plan

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """Reads images of some units; those that cannot be used are faults."""
        clean, changed = dict[int, Tensor](), dict[int, Tensor]()
        faults: list[Fault] = []
        begin = self._plan.changed_starts
        assert begin is not None
        for unit in units:
            path = self._clean[unit]
            try:
                clean[unit], size = self._read(path)
            except ImageError as error:
                faults.append(Fault("clean", unit, str(error)))
                continue
            self._read.refuse_other_size(path, size)
            for row, pair in enumerate(self._changed[path], start=int(begin[unit])):
                try:
                    other, other_size = self._read(pair.changed)
                    if other_size != size:
                        raise ImageError(
                            f"the images of a pair must have one size, got {size[0]}×{size[1]} in {path} and "
                            f"{other_size[0]}×{other_size[1]} in {pair.changed}"
                        )
                    changed[row] = other
                except ImageError as error:
                    faults.append(Fault("changed", row, str(error)))
        labels = np.array([self._changed[self._clean[unit]][0].label for unit in clean], dtype=np.int64)
        return Made(*stacked(clean), labels, *stacked(changed), tuple(faults))

    def describe(self) -> dict[str, Any]:
        """The arguments."""
        return {"source": described(self)}


def _numbers(names: Sequence[str], among: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(among)}
    return np.array([numbers[name] for name in names], dtype=np.int64)
