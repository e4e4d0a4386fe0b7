"""Where the tables of an HDF5 file lie, once it is known that they may be read."""

from __future__ import annotations

import hashlib
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


# The format of a pair file: its tables, their types, and what is refused.


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


def find(file: h5py.File, name: str, length: int) -> Place:
    """Where a table lies, once it is known to be one that may be read.

    Args:
        file: The open file.
        name: Key of :data:`TABLES`.
        length: Bytes of the file.

    Raises:
        UnusableError: As for :func:`locate`.
    """
    dimensions, types = TABLES[name]
    return locate(file, name, length, dimensions, types, mapped=name in IMAGES)


# Short names of images by what they show, so that the same image is known again in another file.


def image_digests(images: Array) -> Array:
    """A number of 64 bits per image: the same for the same pixels in 8 bits, whatever type they are stored in.

    Among a million different images two share a number with a chance of about one in forty million.

    Args:
        images: Images ``[N, ...]`` of uint8, or floating point in [0, 1].

    Returns:
        Numbers ``[N]`` of int64.

    Example:
        >>> white = np.full((2, 1, 4, 4), 255, dtype=np.uint8)
        >>> bool((image_digests(white) == image_digests(white / 255)).all())
        True
    """
    pixels = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
    shape = "x".join(map(str, images.shape[1:])).encode()  # a wide image is no tall one
    found = [hashlib.blake2b(image, digest_size=8, key=shape).digest() for image in np.ascontiguousarray(pixels)]
    return np.frombuffer(b"".join(found), dtype="<i8").astype(np.int64)
