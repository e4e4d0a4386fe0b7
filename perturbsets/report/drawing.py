"""Charts, drawn once, as SVG for the page and as PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from augment.extras import extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[str, tuple[str, str]] = {
    "page": ("#f6f7f9", "#14171b"),
    "card": ("#fefefe", "#1c2025"),
    "ink": ("#1f2630", "#e6e9ed"),
    "muted": ("#626c79", "#9aa5b1"),
    "line": ("#dde1e6", "#333a42"),
    "accent": ("#2a6a9e", "#74b3e3"),
    "warm": ("#c05f21", "#f0a065"),
    "series0": ("#66727f", "#aab5c0"),
    "series1": ("#2b6b9f", "#75b4e4"),
    "series2": ("#c96f28", "#f2a667"),
    "series3": ("#358259", "#73c69b"),
    "series4": ("#8460a8", "#bea2de"),
    "series5": ("#b5404c", "#f18c95"),
    "series6": ("#1f8a92", "#5fccd2"),
    "series7": ("#86693a", "#d2b47f"),
}
"""Each CSS variable's light and dark colour. Light ones all differ: a chart is drawn in them, and its SVG then names
the variables instead."""

LIGHT = {name: light for name, (light, _) in COLOURS.items()}
SERIES = [name for name in COLOURS if name.startswith("series")]
MARKERS = "oDs^vPXd"


def series(number: int) -> tuple[str, str]:
    """Light colour and marker of a series; both repeat after eight."""
    return LIGHT[SERIES[number % len(SERIES)]], MARKERS[number % len(MARKERS)]


def themed(svg: str) -> str:
    """The same SVG with colours that follow the page's scheme."""
    for name, light in LIGHT.items():
        svg = svg.replace(light, f"var(--{name})")
    return svg


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


class Chart(NamedTuple):
    """A drawn chart."""

    name: str  # of its file, without ending
    title: str
    alt: str  # a description for readers who cannot see it
    caption: str  # what to look for
    svg: str  # an ``<svg>`` element in the page's colours
    png: bytes  # a file in light colours, with the title


def plot_means(
    axes: Axes,
    across: Sequence[float],
    entries: Sequence[Mapping[str, Any]],
    colour: str,
    label: str,
    *,
    key: str = "mean",
    marker: str = "",
    least: float = -math.inf,
) -> None:
    """Draws a curve of figures over their abscissas with the band of their intervals, a gap where one has none.

    Values are cut off at ``least``, the lower end of a logarithmic axis.
    """
    prefix = "" if key == "mean" else f"{key}_"
    low, high, values = (
        [math.nan if entry[name] is None else max(least, entry[name]) for entry in entries]
        for name in (f"{prefix}low", f"{prefix}high", key)
    )
    axes.fill_between(across, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(across, values, color=colour, marker=marker, markersize=4, label=label)


def plot_detection(axes: Axes, curves: Mapping[str, tuple[Mapping[str, Any], str, str]], *, detected: str) -> None:
    """Draws receiver operating characteristics: labels to curve, colour and line style."""
    for label, (curve, colour, line) in curves.items():
        label = f"{label}, area {curve['area']['mean']:.2f}"
        axes.plot(curve["false_positive"], curve["true_positive"], line, color=colour, label=label)
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle=":", linewidth=1)
    axes.set(xlabel=f"natural images {detected}", ylabel=f"adversarial images {detected}")
    if curves:
        axes.legend(loc="lower right")


def annotate(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], colour: str, **kwargs: Any
) -> None:
    """Writes text to the upper left of a point, at an offset in printer's points."""
    kwargs = {"ha": "right", "va": "bottom", **kwargs}
    axes.annotate(text, at, xytext=offset, textcoords="offset points", color=LIGHT[colour], **kwargs)


def percent_axis(axes: Axes) -> None:
    """Labels the ordinate, from 0 to 1, in percent."""
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


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
    """Draws a chart in the report's style, of a size in inches, and leaves matplotlib's settings as they are."""
    with extra("report", "a chart"):
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
