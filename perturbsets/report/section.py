"""A section of the page: its heading, pictures, charts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from perturbsets.report.drawing import Chart
from perturbsets.report.pictures import Grid


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
