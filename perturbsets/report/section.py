"""A section of the page: its heading, pictures, charts and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from cvae.progress import Record, read_records
from perturbsets.report.drawing import Chart
from perturbsets.report.pictures import Grid

# Reading what the stages of a run left in its folder.


def read_json(file: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or ``None`` if its stage has not written it yet.

    Raises:
        ValueError: If the file is damaged.
    """
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): carry out the stage that wrote it again") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} must hold a JSON object, got a {type(content).__name__}: carry out the stage that wrote it again"
        )
    return content


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return dict(safetensors.torch.load_file(file))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}): carry out the stage that wrote it again") from error


def read_classifiers(folder: Path) -> dict[str, list[list[Record]]]:
    """Records of every classifier: name to one list of records per seed, in order of name and seed."""
    trained: dict[str, list[list[Record]]] = {}
    for file in sorted(folder.glob("*/*/metrics.jsonl")):
        records = read_records(file)
        if records:
            trained.setdefault(file.parent.parent.name, []).append(records)
    return trained


@dataclass(frozen=True)
class Table:
    """Rows of words and figures.

    Attributes:
        title: What it shows, in a few words.
        head: What stands above each column, the first of which names the rows.
        rows: Cells of each row.
        note: How to read it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        key: Its anchor, and what the template knows it by.
        title: Its heading.
        needs: The stage to carry out first, if its input is absent.
        grids: Its pictures.
        charts: Its charts.
        tables: Its tables, where words and figures are all that there is to them.
        content: What else the template shows in it.
    """

    key: str
    title: str
    needs: str | None = None
    grids: list[Grid] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    content: Any = None
