"""Colours of the report, each in a light and a dark form."""

from __future__ import annotations

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
"""Name of each CSS variable to its light and dark colour. Light ones are all different: a chart is drawn in
them once, and its SVG then names the variables instead."""

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
