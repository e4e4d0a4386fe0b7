"""A section of the page, and the files of a run that it is made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from cvae import files
from cvae.progress import Record, read_records
from perturbsets.report.drawing import Chart
from perturbsets.report.pictures import Grid


def read_json(file: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or ``None`` if its stage has not run yet; a damaged one is refused."""
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): run the stage that wrote it again") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} must hold a JSON object, got a {type(content).__name__}: run the stage that wrote it again"
        )
    return content


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; a damaged one is refused."""
    try:
        return files.read_tensors(file)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}): run the stage that wrote it again") from error


def read_classifiers(folder: Path) -> dict[str, list[list[Record]]]:
    """Training records of every classifier: name to a list of records per seed, in order of name and seed."""
    trained: dict[str, list[list[Record]]] = {}
    for file in sorted(folder.glob("*/*/metrics.jsonl")):
        records = read_records(file)
        if records:
            trained.setdefault(file.parent.parent.name, []).append(records)
    return trained


Cell = Callable[[Any], str]


def cell(form: Cell, *path: str) -> Cell:
    """A function from an entry to its formatted value at a path of keys."""
    return lambda entry: form(reduce(getitem, path, entry))


class Table:
    """A table of words and figures, with a row per entry.

    Args:
        title: Its title.
        first: Heading of the column of names.
        columns: Heading of every other column, to a function from an entry to its cell.
        entries: Names and entries of the rows; names may repeat in a list of pairs.
        note: How to read it.
    """

    def __init__(
        self,
        title: str,
        first: str,
        columns: Mapping[str, Cell],
        entries: Mapping[str, Any] | Iterable[tuple[str, Any]],
        note: str,
    ) -> None:
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        self.title, self.note, self.head = title, note, (first, *columns)
        self.rows = [(name, *(column(entry) for column in columns.values())) for name, entry in pairs]


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    key: str  # its anchor, and the name of its templates
    title: str
    needs: str | None = None  # the stage to run first, if its input is absent
    grids: list[Grid] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    content: Any = None  # values for its templates
