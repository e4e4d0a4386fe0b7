"""The format of pair files, checks of their tables, and hashes of images."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """Position of a table's values in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    def map(self, path: Path) -> Array:
        """The values as a read-only view into a memory map."""
        return np.asarray(np.memmap(path, self.dtype, "r", self.offset, self.shape))


class UnusableError(Exception):
    """Why a file cannot be used."""


@contextmanager
def opened(path: Path, kind: str, maker: str, form: tuple[str, int]) -> Iterator[h5py.File]:
    """A file of a format and its version, open for reading; an :class:`UnusableError` of the block names the file.

    Raises:
        FileNotFoundError: If it is missing.
        PermissionError: If it may not be read.
        ValueError: If it is truncated, not HDF5, of another format, or the block finds it unusable.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path must be a {kind}, got {path}: `{maker}` makes one")
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, "it is there but may not be read: its owner has to allow it", str(path))
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format"), file.attrs.get("version")
            if found != form:
                raise UnusableError("its format is {} version {}, expected {} version {}".format(*found, *form))
            yield file
    except (OSError, UnusableError) as error:
        reason = f"it cannot be read as HDF5 ({error}); it is truncated or of another kind"
        reason = str(error) if isinstance(error, UnusableError) else reason
        raise ValueError(f"{path} is no usable {kind}: {reason}. Make it again with `{maker}`") from error


def locate(
    file: h5py.File, name: str, length: int, dimensions: int, types: tuple[str, ...], *, mapped: bool = False
) -> Place:
    """Position of a table of an open file, whose length is in bytes.

    Raises:
        UnusableError: If it is missing, in another file, or of another shape or type; if it is memory-mapped, also if
            it is chunked or truncated.
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


FORMAT, VERSION = "perturbsets.pairs", 2
IMAGES = ("clean", "changed")
CLEAN_ROWS = ("label", "origin", "split", "group")
PAIR_ROWS = ("source", "target", "condition", "parameters")
TABLES: dict[str, tuple[int, tuple[str, ...]]] = {
    **dict.fromkeys(IMAGES, (4, ("uint8", "float32"))),
    **dict.fromkeys((*CLEAN_ROWS, *PAIR_ROWS), (1, ("int64",))),
    "parameters": (2, ("float32",)),
}
"""Dimensions and types of each table.

``clean`` has one row per clean image; ``changed`` one per changed image, and may be the very same table. Each clean
image has a ``label``, its ``origin`` in the data it came from, a ``split`` and a ``group``; each pair names a clean row
(``source``), a changed row (``target``), a ``condition`` and ``parameters``. Images that could not be read keep their
rows, and no pair names them.
"""


def index_fault(tables: Mapping[str, Array], clean: int, changed: int, splits: int, conditions: int) -> str | None:
    """What is wrong with tables of clean rows and pairs: their lengths, numbers or parameters; None if nothing is."""
    lengths = dict.fromkeys(CLEAN_ROWS, (clean, "clean images"))
    lengths |= dict.fromkeys(PAIR_ROWS, (len(tables["source"]), "pairs"))
    limits = {
        "source": (clean, "clean images"),
        "target": (changed, "changed images"),
        "condition": (conditions, "conditions"),
        "split": (splits, "splits"),
    }
    for name, table in tables.items():
        expected, kind = lengths[name]
        if len(table) != expected:
            return f"{name} has {len(table)} rows for {expected} {kind}"
    for name, (limit, kind) in limits.items():
        smallest, largest = tables[name].min(initial=0), tables[name].max(initial=0)
        if smallest < 0 or (largest >= limit and len(tables[name])):
            return f"{name} must number {kind} from 0 to {limit - 1}, got {smallest} to {largest}"
    return None if np.isfinite(tables["parameters"]).all() else "parameters hold NaN or infinity"


def image_digests(images: Array) -> Array:
    """64-bit hashes of images, int64, by their pixels in 8 bits, whatever type they are stored in.

    Images ``[N, ...]`` are uint8, or floating point in [0, 1]. Among a million different ones the probability of a
    collision is about one in forty million.

    Example:
        >>> white = np.full((2, 1, 4, 4), 255, dtype=np.uint8)
        >>> bool((image_digests(white) == image_digests(white / 255)).all())
        True
    """
    pixels = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
    shape = "x".join(map(str, images.shape[1:])).encode()  # images of the same bytes may differ in shape
    digests = [hashlib.blake2b(image, digest_size=8, key=shape).digest() for image in np.ascontiguousarray(pixels)]
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)
