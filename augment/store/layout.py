"""The format of a pair file: its tables, their types, and what is refused."""

from __future__ import annotations

import h5py

from augment.store.places import Place, locate

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
