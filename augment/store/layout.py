"""The format of a pair file: its tables, their types, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FORMAT, VERSION = "perturbsets.pairs", 2
IMAGES = ("clean", "changed")
CLEAN_ROWS = ("label", "origin", "split", "group")
PAIR_ROWS = ("source", "target", "condition", "parameters")
_PIXELS = ("uint8", "float32")
TABLES: dict[str, tuple[int, tuple[str, ...]]] = {
    "clean": (4, _PIXELS),
    "changed": (4, _PIXELS),
    "label": (1, ("int64",)),
    "origin": (1, ("int64",)),
    "split": (1, ("int64",)),
    "group": (1, ("int64",)),
    "source": (1, ("int64",)),
    "target": (1, ("int64",)),
    "condition": (1, ("int64",)),
    "parameters": (2, ("float32",)),
}
"""Dimensions and types of each table.

``clean`` has one row per clean image; ``changed`` one per changed image, and may be the very same table. Each clean
image has a ``label``, its ``origin`` in the data it came from, a ``split`` and a ``group``; each pair names a clean row
(``source``), a changed row (``target``), a ``condition`` and ``parameters``. Images that could not be read keep their
rows, and no pair names them.
"""


class Place(NamedTuple):
    """Where a table's values lie in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    def map(self, path: Path) -> Array:
        """The values as a read-only view into a memory map."""
        return np.asarray(np.memmap(path, self.dtype, "r", self.offset, self.shape))


class UnusableError(Exception):
    """Why a file is no usable pair file."""


def find(file: h5py.File, name: str, length: int) -> Place:
    """Where a table lies, once it is known to be one that may be read.

    Args:
        file: The open file.
        name: Key of :data:`TABLES`.
        length: Bytes of the file.

    Raises:
        UnusableError: If it is missing, elsewhere, of another shape or type, chunked, or cut off.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise UnusableError(f"it has no data set {name!r}")
    if not isinstance(link, h5py.HardLink):
        raise UnusableError(f"{name!r} is a link to elsewhere, which is never followed")
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise UnusableError(f"{name!r} is no data set")
    if data.external or data.is_virtual:
        raise UnusableError(f"{name!r} keeps its values in another file, which is never read")
    dimensions, types = TABLES[name]
    if data.ndim != dimensions or data.dtype.name not in types:
        raise UnusableError(
            f"{name!r} must have {dimensions} dimensions of {' or '.join(types)}, got shape {data.shape} of "
            f"{data.dtype}"
        )
    if not data.dtype.isnative:
        raise UnusableError(f"{name!r} is {data.dtype.str}, in the byte order of another machine")
    offset = data.id.get_offset()
    if name in IMAGES:
        if data.chunks is not None or offset is None:
            raise UnusableError(f"{name!r} is chunked or compressed, which cannot be memory-mapped")
        if offset + data.nbytes > length:
            raise UnusableError(f"it is truncated: {name!r} goes beyond the end of the file")
    return Place(int(offset or 0), tuple(data.shape), data.dtype.name)
