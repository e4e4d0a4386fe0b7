"""Banks in HDF5 files, read in blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.store.places import UnusableError, locate
from perturbsets._types import Labels, Rows
from perturbsets.representations.bank import Bank

FORMAT, VERSION = "perturbsets.features", 1


class FeatureBank(Bank):
    """Features of the images of a data set, in a file that :func:`write_bank` made.

    Opening it reads the labels alone. Features are read when asked for, through a memory map that is closed again: a
    search through a bank far larger than memory holds one block at a time.

    Args:
        path: The file.

    Attributes:
        layers: Names of the layers, in the order of the network.
        labels: Class of each image.
        predictions: Class that the network gives each image.
        classes: Names of the classes; empty where the data set has none.
        provenance: What made the features.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no bank: truncated, not HDF5, with links, or with wrong shapes or types. The message gives
            the reason.

    Example:
        >>> bank = FeatureBank("features.h5")  # doctest: +SKIP
        >>> nearest_neighbours(queries, bank.blocks("fc"), count=3)  # doctest: +SKIP
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"path must be a bank of features, got {self.path}: `write_bank` makes one")
        try:
            with h5py.File(self.path, "r") as file:
                self._open(file)
        except OSError as error:
            reason = f"it cannot be read as HDF5 ({error}); it is truncated or of another kind"
            raise self._refused(reason) from error
        except UnusableError as refusal:
            raise self._refused(str(refusal)) from refusal

    def _refused(self, reason: str) -> ValueError:
        return ValueError(f"{self.path} is no usable bank of features: {reason}. Make it again with `write_bank`")

    def _open(self, file: h5py.File) -> None:
        if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
            found = f"{file.attrs.get('format')} version {file.attrs.get('version')}"
            raise UnusableError(f"its format is {found}, expected {FORMAT} version {VERSION}")
        try:
            self.layers = tuple(str(name) for name in file.attrs["layers"])
            self.classes = tuple(str(name) for name in file.attrs["classes"])
            self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableError(f"an attribute is missing or damaged ({error})") from error
        if not self.layers:
            raise UnusableError("it has no layers")
        length = self.path.stat().st_size
        for name in ("labels", "predictions"):
            locate(file, name, length, 1, ("int64",), mapped=True)
        self.labels: Labels = torch.from_numpy(file["labels"][()])
        self.predictions: Labels = torch.from_numpy(file["predictions"][()])
        tables = {layer: table(number) for number, layer in enumerate(self.layers)}
        self._places = {
            layer: locate(file, name, length, 2, ("float32",), mapped=True) for layer, name in tables.items()
        }
        lengths = {name: place.shape[0] for name, place in self._places.items()} | {
            "predictions": len(self.predictions)
        }
        wrong = {name: rows for name, rows in lengths.items() if rows != len(self.labels)}
        if wrong or not len(self.labels):
            raise UnusableError(f"it has {len(self.labels)} labels, and other numbers of rows: {wrong}")

    def _read(self, layer: str, rows: Rows) -> Float[Tensor, "N D"]:
        values, wanted = self._places[layer].map(self.path), rows.numpy()
        in_a_row = len(wanted) and int(wanted[-1]) - int(wanted[0]) == len(wanted) - 1 and (np.diff(wanted) == 1).all()
        if in_a_row:
            return torch.from_numpy(values[wanted[0] : wanted[-1] + 1].copy())
        return torch.from_numpy(np.take(values, wanted, axis=0))


def table(number: int) -> str:
    """Name of the table that keeps a layer, since a layer's own name may hold what HDF5 reads as a path."""
    return f"layer{number}"
