"""Where the tables of an HDF5 file lie, once it is known that they may be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """Where a table's values lie in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    def map(self, path: Path) -> Array:
        """The values as a read-only view into a memory map."""
        return np.asarray(np.memmap(path, self.dtype, "r", self.offset, self.shape))


class UnusableError(Exception):
    """Why a file cannot be used."""


def locate(
    file: h5py.File, name: str, length: int, dimensions: int, types: tuple[str, ...], *, mapped: bool = False
) -> Place:
    """Where a table lies, once it is known to be one that may be read.

    Args:
        file: The open file.
        name: Name of the table.
        length: Bytes of the file.
        dimensions: Number of dimensions it must have.
        types: Types it may have.
        mapped: Whether its values are to be memory-mapped.

    Raises:
        UnusableError: If it is missing, elsewhere, of another shape or type; where it is to be mapped also if it is
            chunked or cut off.
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
    if data.ndim != dimensions or data.dtype.name not in types:
        raise UnusableError(
            f"{name!r} must have {dimensions} dimensions of {' or '.join(types)}, got shape {data.shape} of "
            f"{data.dtype}"
        )
    if not data.dtype.isnative:
        raise UnusableError(f"{name!r} is {data.dtype.str}, in the byte order of another machine")
    offset = data.id.get_offset()
    if mapped:
        if data.chunks is not None or offset is None:
            raise UnusableError(f"{name!r} is chunked or compressed, which cannot be memory-mapped")
        if offset + data.nbytes > length:
            raise UnusableError(f"it is truncated: {name!r} goes beyond the end of the file")
    return Place(int(offset or 0), tuple(data.shape), data.dtype.name)
