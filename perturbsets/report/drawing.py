"""Drawing a chart once, as SVG for the page and as PNG for other uses."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perturbsets.report.palette import LIGHT, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 4.8  # inches: text keeps a readable size where a phone shows the chart across its screen

SETTINGS = {
    "axes.edgecolor": LIGHT["line"],
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": LIGHT["muted"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": LIGHT["card"],
    "font.size": 9,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": LIGHT["ink"],
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.color": LIGHT["line"],
    "ytick.labelcolor": LIGHT["muted"],
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


@dataclass(frozen=True)
class Chart:
    """A chart that is drawn.

    Attributes:
        name: Name of its file, without ending.
        title: What it shows, in a few words.
        alt: What can be read off it, for those who do not see it.
        caption: What to look for.
        svg: The chart as an ``<svg>`` element in the page's colours.
        png: The chart as a PNG file in light colours, with its title.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str
    png: bytes


def band(
    axes: Axes,
    across: Sequence[float],
    entries: Sequence[Mapping[str, Any]],
    colour: str,
    name: str = "",
    *,
    least: float = -math.inf,
) -> None:
    """Fills the intervals of figures along a curve; there is a gap where one has none.

    Args:
        axes: Where to draw.
        across: Place of each figure.
        entries: The figures.
        colour: Colour of the band.
        name: What the names of the ends begin with.
        least: Where a logarithmic axis ends.
    """
    low, high = (
        [math.nan if entry[key] is None else max(least, entry[key]) for entry in entries]
        for key in (f"{name}low", f"{name}high")
    )
    axes.fill_between(across, low, high, color=colour, alpha=0.18, linewidth=0)


def draw_chart(
    name: str,
    draw: Callable[[Axes], None],
    *,
    title: str,
    alt: str,
    caption: str = "",
    width: float = WIDTH,
    height: float = 2.7,
) -> Chart:
    """Draws a chart with the report's settings; the settings of the process stay as they are.

    Args:
        name: Name of its file, without ending.
        draw: Draws on the axes it is given.
        title: What the chart shows.
        alt: What can be read off it.
        caption: What to look for.
        width: Width in inches.
        height: Height in inches.

    Returns:
        The chart.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**SETTINGS, "svg.hashsalt": name})  # type: ignore[dict-item]
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        vector, pixels = io.StringIO(), io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(vector, format="svg", transparent=True, metadata=nothing)
        axes.set_title(title, pad=10)
        figure.savefig(pixels, format="png", dpi=200)
    return Chart(name, title, alt, caption, _inline(vector.getvalue(), name), pixels.getvalue())


def _inline(svg: str, name: str) -> str:
    """An SVG file as an element of a page: no prologue, no size of its own, ids and fonts that fit in."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None  # matplotlib writes one always
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font-size: \1", body)
    return themed(f'<svg {box[0]} aria-hidden="true">{body}')
