"""A section of the page: its heading, pictures and charts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from perturbsets.report.drawing import Chart
from perturbsets.report.pictures import Grid


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        key: Its anchor, and what the template knows it by.
        title: Its heading.
        needs: The stage to carry out first, if its input is absent.
        grids: Its pictures.
        charts: Its charts.
        content: What else the template shows in it.
    """

    key: str
    title: str
    needs: str | None = None
    grids: list[Grid] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    content: Any = None
