"""Reading pairs of images from HDF5, batch by batch, through a memory map."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from augment.store.hdf5_layout import (
    CLEAN_ROWS,
    FORMAT,
    IMAGES,
    PAIR_ROWS,
    TABLES,
    VERSION,
    Array,
    UnusableError,
    image_digests,
    index_fault,
    locate,
    opened,
)

BLOCK = 1 << 24  # values that are checked at a time
READ = 1 << 10  # images that are hashed at a time


class Pair(NamedTuple):
    """A pair of images, or a batch of pairs.

    Attributes:
        clean: The clean image x, in the stored type.
        changed: The changed image x̃ of the same scene.
        source: Number of the independent unit of the pair: the clean image, or its photograph, scene or person. Pairs
            of one source are not independent.
        label: Class number, -1 where there is none.
    """

    clean: Tensor
    changed: Tensor
    source: Tensor
    label: Tensor


class PairStore(Dataset[Pair]):
    """Pairs of images in an HDF5 file, as a map-style data set.

    Images are read through a memory map, which is many times faster than indexing chunked HDF5 data; each process opens
    the file itself. Tensors have the stored type (``uint8`` stays ``uint8``), so that they can be converted on the
    device.

    Args:
        path: A file written by :func:`augment.write_pairs`.
        split: Name of a split; all pairs if not given. Splits are by source, never by pair.
        conditions: Names of conditions, for example corruptions; all if not given.

    Attributes:
        shape: Channels, height and width of each image.
        splits: Names of the splits in the file.
        conditions: Names of the conditions in the file.
        condition: Number of each pair's condition, among `conditions`.
        split: Number of each pair's split, among `splits`.
        sources: Number of each pair's source, as in :class:`Pair`.
        clean_rows: Row of each pair's clean image in the file; a source may have several.
        labels: Class of each pair.
        parameters: Parameters of the change, a row per pair, with columns `parameter_names`.
        provenance: Source, change and settings that made the pairs.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no pair file: truncated, not HDF5, with links, or with wrong shapes, types or
            values. The message gives the reason. Also if a split or condition is unknown or holds no pairs.

    Example:
        >>> store = PairStore("pairs.h5", split="train")  # doctest: +SKIP
        >>> clean, changed, source, label = store.batch([0, 5, 7])  # doctest: +SKIP
    """

    def __init__(self, path: Path | str, split: str | None = None, *, conditions: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        with opened(self.path, "pair file", "write_pairs", (FORMAT, VERSION)) as file:
            self._read(file, split, conditions)
            self._process: int | None = None
            for name in IMAGES:
                self._check_values(name)

    def _read(self, file: h5py.File, split: str | None, conditions: Sequence[str] | None) -> None:
        length = self.path.stat().st_size
        places = {name: locate(file, name, length, *table, mapped=name in IMAGES) for name, table in TABLES.items()}
        arrays = {name: file[name][()] for name in (*CLEAN_ROWS, *PAIR_ROWS)}
        try:
            self.splits = tuple(str(name) for name in file.attrs["splits"])
            self.conditions = tuple(str(name) for name in file.attrs["conditions"])
            self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
            self.parameter_names = [str(name) for name in file["parameters"].attrs["names"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableError(f"an attribute is missing or damaged ({error})") from error
        clean, changed = places["clean"], places["changed"]
        if changed.shape[1:] != clean.shape[1:] or changed.dtype != clean.dtype:
            raise UnusableError(
                f"changed images are {changed.shape[1:]} and clean ones {clean.shape[1:]}, or of another type"
            )
        fault = index_fault(arrays, clean.shape[0], changed.shape[0], len(self.splits), len(self.conditions))
        if fault is not None:
            raise UnusableError(fault)
        rows = self._chosen(arrays, split, conditions)
        channels, height, width = clean.shape[1:]
        self.shape = (int(channels), int(height), int(width))
        self._places = {name: places[name] for name in IMAGES}
        self._source, self._target = arrays["source"][rows], arrays["target"][rows]
        self._group, self._label = arrays["group"][self._source], arrays["label"][self._source]
        breaks = (np.diff(self._source) != 1) | (np.diff(self._target) != 1)
        self._run = np.concatenate([[0], np.cumsum(breaks)])  # numbers runs of pairs that are contiguous in the file
        self.sources, self.labels = torch.from_numpy(self._group), torch.from_numpy(self._label)
        self.clean_rows = torch.from_numpy(self._source)
        self.condition = torch.from_numpy(arrays["condition"][rows])
        self.split = torch.from_numpy(arrays["split"][self._source])
        self.parameters = torch.from_numpy(arrays["parameters"][rows])

    def _chosen(self, arrays: dict[str, Array], split: str | None, conditions: Sequence[str] | None) -> Array:
        """Rows of the pairs of the split and the conditions."""
        if split is not None and split not in self.splits:
            raise ValueError(f"split must be one of {list(self.splits)} in {self.path}, got {split!r}")
        unknown = sorted(set(conditions or ()) - set(self.conditions))
        if unknown or isinstance(conditions, str):
            raise ValueError(
                f"conditions must be some of {list(self.conditions)} in {self.path}, got {unknown or conditions!r}"
            )
        numbers = arrays["split"][arrays["source"]]
        meeting = np.ones(len(numbers), dtype=bool)
        if conditions is not None:
            meeting = np.isin(arrays["condition"], [self.conditions.index(name) for name in conditions])
        chosen = meeting if split is None else meeting & (numbers == self.splits.index(split))
        if not chosen.any():
            under = "" if conditions is None else f" under the conditions {list(conditions)}"
            holding = [self.splits[number] for number in np.unique(numbers[meeting])]
            part = f"split {split!r} of {self.path}" if split is not None else str(self.path)
            raise ValueError(f"{part} holds no pairs{under}: choose one of the splits that do, {holding}")
        return np.flatnonzero(chosen)

    def _check_values(self, name: str) -> None:
        values = self._places[name].map(self.path).reshape(-1)
        if values.dtype == np.uint8:
            return
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK]
            low, high = float(block.min()), float(block.max())
            if not (low >= 0 and high <= 1):  # NaN fails too
                raise UnusableError(f"{name!r} must hold values in [0, 1], got {low:.4g} to {high:.4g}")

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_changed", "_clean")
        return {**{key: value for key, value in vars(self).items() if key not in hidden}, "_process": None}

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._source)

    def batch(self, indices: Sequence[int] | Tensor | Array) -> Pair:
        """Several pairs as one batch, as tensors that own their memory.

        Args:
            indices: Positions in this split, each at least ``-len(self)`` and below ``len(self)``.

        Raises:
            IndexError: If a position is out of range.
        """
        if self._process != os.getpid():
            self._clean, self._changed = (self._places[name].map(self.path) for name in IMAGES)
            self._process = os.getpid()
        positions = np.asarray(indices, dtype=np.int64)
        chosen = self._in_a_row(positions)
        if isinstance(chosen, slice):  # one copy instead of one per image
            source, target = self._source[chosen.start], self._target[chosen.start]
            clean = self._clean[source : source + len(positions)].copy()
            changed = self._changed[target : target + len(positions)].copy()
            group, label = self._group[chosen].copy(), self._label[chosen].copy()
        else:
            clean = np.take(self._clean, self._source[chosen], axis=0)
            changed = np.take(self._changed, self._target[chosen], axis=0)
            group, label = self._group[chosen], self._label[chosen]
        return Pair(*map(torch.from_numpy, (clean, changed, group, label)))

    def digests(self) -> Tensor:
        """Hashes of the different clean images, sorted, which identify them also in other files.

        Where changed images are clean images of other pairs, as in scenes, all are hashed. Equal pixels (in 8 bits)
        have equal hashes.
        """
        clean, changed = (self._places[name] for name in IMAGES)
        rows = np.unique(self._source if clean != changed else np.concatenate([self._source, self._target]))
        pixels = clean.map(self.path)
        parts = [image_digests(np.take(pixels, some, axis=0)) for some in np.array_split(rows, len(rows) // READ + 1)]
        return torch.from_numpy(np.unique(np.concatenate(parts)))

    def _in_a_row(self, positions: Array) -> slice | Array:
        """Positions as a slice if they, and their images in the file, are contiguous; else unchanged."""
        if len(positions) < 2:
            return positions
        first, last = int(positions[0]), int(positions[-1])
        if not 0 <= first < last < len(self) or last - first != len(positions) - 1:
            return positions
        if self._run[first] != self._run[last] or np.count_nonzero(positions[1:] <= positions[:-1]):
            return positions
        return slice(first, last + 1)

    def __getitem__(self, index: int) -> Pair:
        """One pair."""
        return Pair(*(part[0] for part in self.batch([index])))

    def __getitems__(self, indices: list[int]) -> list[Pair]:
        """Several pairs as a list, read as one batch; PyTorch's data loader uses it."""
        return [Pair(*parts) for parts in zip(*self.batch(indices), strict=True)]
