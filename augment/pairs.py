"""Reading pairs of images from HDF5, batch by batch, at the speed of a memory map."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

Array = npt.NDArray[Any]

FORMAT, VERSION = "perturbsets.pairs", 1
BLOCK = 1 << 24  # values looked at in one go when a file is checked
_DIMENSIONS = {"changed": 4, "clean": 4, "source": 1, "label": 1, "origin": 1, "split": 1, "parameters": 2}
_TYPES = {
    "changed": ("uint8", "float32"),
    "clean": ("uint8", "float32"),
    "source": ("int64",),
    "label": ("int64",),
    "origin": ("int64",),
    "split": ("uint8",),
    "parameters": ("float32",),
}


class Pair(NamedTuple):
    """A pair of images, or a batch of pairs.

    Attributes:
        clean: The image x, in the stored type.
        changed: The same scene changed, x̃.
        source: Number of the source image in the file; pairs of one source are not independent.
        label: Class number, -1 where there is none.
    """

    clean: Tensor
    changed: Tensor
    source: Tensor
    label: Tensor


class PairStore(Dataset[Pair]):
    """Pairs of images in an HDF5 file, as a map-style data set.

    Images are stored contiguously and read through a memory map at the data's offset in the file: fancy indexing
    on chunked HDF5 data is many times slower. The file is opened anew in each process. Tensors come in the
    stored type (``uint8`` stays ``uint8``), so that the conversion can happen on the device.

    Args:
        path: A file written by :func:`augment.write_pairs`.
        split: Which split to give; all pairs if not given. Splits are by source image, never by pair.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no pair file: truncated, not HDF5, with links, or with wrong shapes, types or
            values. The message gives the reason.

    Example:
        >>> store = PairStore("pairs.h5", split="train")  # doctest: +SKIP
        >>> clean, changed, source, label = store.batch([0, 5, 7])  # doctest: +SKIP
    """

    def __init__(self, path: Path | str, split: str | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"path must be a pair file, got {self.path}: `write_pairs` makes one")
        try:
            with h5py.File(self.path, "r") as file:
                self._read(file, split)
        except OSError as error:
            raise self._refuse(f"it cannot be read as HDF5 ({error}); it is truncated or of another kind") from error
        self._process: int | None = None
        for name in ("changed", "clean"):
            self._check_values(name)

    def _refuse(self, reason: str) -> ValueError:
        return ValueError(f"{self.path} is no usable pair file: {reason}. Make it again with `write_pairs`")

    def _read(self, file: h5py.File, split: str | None) -> None:
        if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
            found = f"{file.attrs.get('format')} version {file.attrs.get('version')}"
            raise self._refuse(f"its format is {found}, expected {FORMAT} version {VERSION}")
        self._layout = {name: self._dataset(file, name) for name in _DIMENSIONS}
        arrays = {name: file[name][()] for name in ("source", "label", "origin", "split", "parameters")}
        changed, clean = file["changed"].shape, file["clean"].shape
        if changed[1:] != clean[1:] or file["changed"].dtype != file["clean"].dtype:
            raise self._refuse(f"changed images are {changed[1:]} and clean ones {clean[1:]}, or of another type")
        for name, length in (("source", changed[0]), ("parameters", changed[0])):
            if len(arrays[name]) != length:
                raise self._refuse(f"{name} has {len(arrays[name])} rows for {length} pairs")
        for name in ("label", "origin", "split"):
            if len(arrays[name]) != clean[0]:
                raise self._refuse(f"{name} has {len(arrays[name])} rows for {clean[0]} clean images")
        if changed[0] and not 0 <= arrays["source"].min() <= arrays["source"].max() < clean[0]:
            raise self._refuse(f"source must number clean images from 0 to {clean[0] - 1}")
        if not np.isfinite(arrays["parameters"]).all():
            raise self._refuse("parameters hold NaN or infinity")
        try:
            splits = [str(name) for name in file.attrs["splits"]]
            self.seed = int(file.attrs["seed"])
            self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
            self.parameter_names = [str(name) for name in file["parameters"].attrs["names"]]
        except (KeyError, TypeError, ValueError) as error:
            raise self._refuse(f"an attribute is missing or damaged ({error})") from error
        if clean[0] and arrays["split"].max() >= len(splits):
            raise self._refuse(f"split numbers go beyond the {len(splits)} names {splits}")
        if split is not None and split not in splits:
            raise ValueError(f"split must be one of {splits} in {self.path}, got {split!r}")
        rows = np.arange(changed[0])
        if split is not None:
            rows = rows[arrays["split"][arrays["source"]] == splits.index(split)]
        if not len(rows):
            raise ValueError(f"split {split!r} of {self.path} holds no pairs: choose one of {splits}")
        channels, height, width = changed[1:]
        self.shape = (int(channels), int(height), int(width))
        self._rows, self.splits = rows, splits
        self._source, self._label = arrays["source"], arrays["label"]
        self.parameters = torch.from_numpy(arrays["parameters"][rows])
        self.sources = torch.from_numpy(self._source[rows])
        self.labels = torch.from_numpy(self._label[self._source[rows]])

    def _dataset(self, file: h5py.File, name: str) -> tuple[int, tuple[int, ...], str]:
        link = file.get(name, getlink=True)
        if link is None:
            raise self._refuse(f"it has no data set {name!r}")
        if not isinstance(link, h5py.HardLink):
            raise self._refuse(f"{name!r} is a link to elsewhere, which is never followed")
        data = file[name]
        if not isinstance(data, h5py.Dataset):
            raise self._refuse(f"{name!r} is no data set")
        if data.external or data.is_virtual:
            raise self._refuse(f"{name!r} keeps its values in another file, which is never read")
        if data.ndim != _DIMENSIONS[name] or data.dtype.name not in _TYPES[name]:
            raise self._refuse(
                f"{name!r} must have {_DIMENSIONS[name]} dimensions of {' or '.join(_TYPES[name])}, got shape "
                f"{data.shape} of {data.dtype}"
            )
        if not data.dtype.isnative:
            raise self._refuse(f"{name!r} is {data.dtype.str}, in the byte order of another machine")
        offset = data.id.get_offset()
        if name in ("changed", "clean"):
            if data.chunks is not None or offset is None:
                raise self._refuse(f"{name!r} is chunked or compressed, which cannot be memory-mapped")
            if offset + data.nbytes > self.path.stat().st_size:
                raise self._refuse(f"it is truncated: {name!r} goes beyond the end of the file")
        return int(offset or 0), tuple(data.shape), data.dtype.name

    def _check_values(self, name: str) -> None:
        values = self._map(name).reshape(-1)
        if values.dtype == np.uint8:
            return
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK]
            low, high = float(block.min()), float(block.max())
            if not (low >= 0 and high <= 1):  # NaN fails too
                raise self._refuse(f"{name!r} must hold values in [0, 1], got {low:.4g} to {high:.4g}")

    def _map(self, name: str) -> Array:
        offset, shape, dtype = self._layout[name]
        return np.memmap(self.path, dtype, "r", offset, shape)

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_changed", "_clean")
        return {**{key: value for key, value in vars(self).items() if key not in hidden}, "_process": None}

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._rows)

    def batch(self, indices: Sequence[int] | Tensor | Array) -> Pair:
        """Several pairs as one batch, gathered in one go.

        Args:
            indices: Positions in this split, each at least ``-len(self)`` and below ``len(self)``.

        Returns:
            Stacked tensors that own their memory.

        Raises:
            IndexError: If a position is outside.
        """
        if self._process != os.getpid():
            self._changed, self._clean = self._map("changed"), self._map("clean")
            self._process = os.getpid()
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        source = self._source[rows]
        return Pair(
            torch.from_numpy(np.take(self._clean, source, axis=0)),
            torch.from_numpy(np.take(self._changed, rows, axis=0)),
            torch.from_numpy(source),
            torch.from_numpy(self._label[source]),
        )

    def __getitem__(self, index: int) -> Pair:
        """One pair."""
        return Pair(*(part[0] for part in self.batch([index])))

    def __getitems__(self, indices: list[int]) -> list[Pair]:
        """Several pairs as a list, read as one batch: what a data loader asks for."""
        return [Pair(*parts) for parts in zip(*self.batch(indices), strict=True)]
