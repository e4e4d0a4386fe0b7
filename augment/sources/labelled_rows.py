"""Rows of a list of labelled images, checked, with split, class and states of labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.files import Inside, Listing, named_class, plain_texts
from augment.splits import assigned_splits

ABOUT = ("image", "class", "split", "group")
"""Columns that are no labels."""


@dataclass(frozen=True)
class LabelledRow:
    """An image of a list: its line, its number among all rows, and what they say, with the split given or drawn."""

    line: int
    number: int
    image: Path
    group: str
    split: str
    kind: str | None
    states: tuple[float, ...]


def label_columns(listing: Listing, labels: Sequence[str] | None, path: Path | str) -> tuple[str, ...]:
    """The columns that are labels: the given ones, which must be there, or all except :data:`ABOUT`."""
    named = [name for name in listing.columns if name not in {*ABOUT, ""}]
    absent = [name for name in labels or () if name not in named]
    if absent or not named:
        raise ValueError(
            f"{path} must have columns of labels, got {', '.join(listing.columns)}: "
            f"{', '.join(absent) or 'all'} missing"
        )
    return tuple(named if labels is None else labels)


def labelled_rows(
    path: Path | str,
    listing: Listing,
    root: Path | str,
    labels: Sequence[str],
    *,
    threshold: float | None,
    highest: float,
    shares: Mapping[str, float],
    seed: int,
) -> list[LabelledRow]:
    """All rows of a list, checked; settings are those of :class:`augment.LabelManifest`.

    Raises:
        ValueError: If a row has wrong values, an image occurs twice, leads out of the root or is missing, or a group is
            in two splits.
    """
    lines = [line for line, _ in listing.rows]
    about = [_about(path, line, row, listing.columns) for line, row in listing.rows]
    inside = Inside(Path(path), Path(root))
    images = [inside(line, texts["image"]) for line, texts in zip(lines, about, strict=True)]
    inside.refuse_missing()
    names = [inside.relative(image) for image in images]
    first: dict[str, int] = {}
    for line, name in zip(lines, names, strict=True):
        if (other := first.setdefault(name, line)) != line:
            raise ValueError(f"{path} must name each image once, got {name} in lines {other} and {line}")
    groups = [texts.get("group", name) for texts, name in zip(about, names, strict=True)]
    named = _named_splits(path, lines, groups, [texts.get("split") for texts in about])
    splits = assigned_splits(named, groups, shares, seed)
    rows = []
    for number, (line, row) in enumerate(listing.rows):
        values = ((label, row.get(label, math.nan)) for label in labels)
        states = tuple(_state(f"{path}, line {line}: {label}", value, threshold, highest) for label, value in values)
        kind = about[number].get("class")
        rows.append(LabelledRow(line, number, images[number], groups[number], splits[number], kind, states))
    return rows


def _about(path: Path | str, line: int, row: dict[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """The values of a row's columns that are no labels, as text; refuses missing and surplus values."""
    short = [name for name, value in row.items() if value is None]
    strange = [value for name, value in row.items() if not name or name not in columns]
    if short or strange:
        got = f"nothing for {short[0]!r}" if short else f"{strange[0]!r} for none"
        raise ValueError(f"{path}, line {line}, must have as many values as there are named columns, got {got}")
    if "image" not in row:
        raise ValueError(f"{path}, line {line}, must name a file in a column 'image', got none")
    about = {name: row[name] for name in ABOUT if name in row}
    if "class" in about:
        about["class"] = named_class(path, line, "class", about["class"])
    return plain_texts(path, line, about)


def _named_splits(path: Path | str, lines: list[int], groups: list[str], named: list[str | None]) -> list[str] | None:
    """The splits of the rows, None if no row names one; refuses groups in two splits."""
    given = [split for split in named if split is not None]
    if given and len(given) < len(named):
        raise ValueError(
            f"{path} must name a split in all lines or in none, got none in line {lines[named.index(None)]}"
        )
    first: dict[str, int] = {}
    for number, group in enumerate(groups):
        other = first.setdefault(group, number)
        if named[other] != named[number]:
            both = [f"{named[at]!r} (line {lines[at]})" for at in (other, number)]
            raise ValueError(f"{path} must put each group into one split, got {group!r} in {' and '.join(both)}")
    return given or None


def _state(where: str, value: Any, threshold: float | None, highest: float) -> float:
    """The state of a label from 0, 1 or nothing, or from an intensity."""
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is not None and math.isnan(number):
        return math.nan
    if threshold is None:
        if number not in (0.0, 1.0):
            raise ValueError(
                f"{where} must be 0, 1 or empty, got {value!r}: give a threshold if values are intensities, or name "
                "the columns of labels if this is none"
            )
        return float(number)
    if number is None or not 0 <= number <= highest:
        raise ValueError(
            f"{where} must be an intensity from 0 to {highest:g} or empty, got {value!r}: leave unknown states empty, "
            "or give the highest intensity"
        )
    return float(number >= threshold)
