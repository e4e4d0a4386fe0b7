"""Rows of a list of labelled images: each one checked, with its split, its class and the states of its labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.files import Inside, Listing, named_class, plain_texts
from augment.splits import drawn_split, with_validation

# States of labels from what a list says: 0, 1 or nothing, or intensities above a threshold.


@dataclass(frozen=True)
class StateReader:
    """Reads the states of a row.

    Args:
        manifest: The list, for messages.
        labels: Names of the columns.
        threshold: The least intensity at which a label is on; None where values are states themselves.
        highest: The largest intensity.
    """

    manifest: str
    labels: tuple[str, ...]
    threshold: float | None
    highest: float

    def __call__(self, line: int, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The state of each label: 1 on, 0 off, NaN unknown.

        Raises:
            ValueError: If a value is something else; the message names its line and column.
        """
        return tuple(self._state(line, label, row.get(label, math.nan)) for label in self.labels)

    def _state(self, line: int, label: str, value: Any) -> float:
        number = _number(value)
        if number is not None and math.isnan(number):
            return math.nan
        if self.threshold is None:
            if number not in (0.0, 1.0):
                raise ValueError(
                    f"{self.manifest}, line {line}: {label} must be 0, 1 or empty, got {value!r}: give a threshold "
                    "where values are intensities, or name the columns of labels where this is none"
                )
            return float(number)
        if number is None or not 0 <= number <= self.highest:
            raise ValueError(
                f"{self.manifest}, line {line}: {label} must be an intensity from 0 to {self.highest:g} or empty, got "
                f"{value!r}: leave empty what is unknown, or give the highest intensity"
            )
        return float(number >= self.threshold)


def _number(value: Any) -> float | None:
    """A value as a number; None where it is none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


ABOUT = ("image", "class", "split", "group")
"""Columns that are no labels."""


@dataclass(frozen=True)
class LabelledRow:
    """What a line says of an image.

    Attributes:
        line: The line.
        number: The row's place among all rows.
        image: True place of the file.
        group: Who or what is independent.
        split: Name of the split, given or drawn.
        kind: Name of the class; None where there is none.
        states: 1, 0 or NaN of each label.
    """

    line: int
    number: int
    image: Path
    group: str
    split: str
    kind: str | None
    states: tuple[float, ...]


def label_columns(listing: Listing, labels: Sequence[str] | None, path: Path | str) -> tuple[str, ...]:
    """The columns that are labels: those asked for, or all others than those about the image.

    Raises:
        ValueError: If one that was asked for is not there, or there is none.
    """
    named = [name for name in listing.columns if name not in {*ABOUT, ""}]
    absent = [name for name in labels or () if name not in named]
    if absent or not named:
        raise ValueError(
            f"{path} must have columns of labels, got {', '.join(listing.columns)}: "
            f"{', '.join(absent) or 'all'} missing"
        )
    return tuple(named if labels is None else labels)


def labelled_rows(
    listing: Listing, path: Path | str, root: Path | str, states: StateReader, shares: Mapping[str, float], seed: int
) -> list[LabelledRow]:
    """All rows of a list, checked.

    Args:
        listing: What the list says.
        path: The list.
        root: Folder that images are relative to and must lie in.
        states: Reads the states of a row.
        shares: Share of each split, where none is named.
        seed: For the draw of splits.

    Raises:
        ValueError: If a row has faulty values, an image stands twice, leads out of the root or is missing, or a group
            lies in two splits.
    """
    lines = [line for line, _ in listing.rows]
    about = [_about(path, line, row, listing.columns) for line, row in listing.rows]
    inside = Inside(Path(path), Path(root))
    images = [inside(line, texts["image"]) for line, texts in zip(lines, about, strict=True)]
    inside.refuse_missing()
    names = [inside.relative(image) for image in images]
    _refuse_twice(path, lines, names)
    groups = [texts.get("group", name) for texts, name in zip(about, names, strict=True)]
    named = [texts.get("split") for texts in about]
    splits = _splits(path, lines, groups, named, shares, seed)
    return [
        LabelledRow(line, number, image, group, split, texts.get("class"), states(line, row))
        for number, ((line, row), image, group, split, texts) in enumerate(
            zip(listing.rows, images, groups, splits, about, strict=True)
        )
    ]


def _about(path: Path | str, line: int, row: dict[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """What a row says besides labels, as texts, once it is known to have its columns' values and no others."""
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


def _refuse_twice(path: Path | str, lines: list[int], names: list[str]) -> None:
    first: dict[str, int] = {}
    for line, name in zip(lines, names, strict=True):
        if (other := first.setdefault(name, line)) != line:
            raise ValueError(f"{path} must name each image once, got {name} in lines {other} and {line}")


def _splits(
    path: Path | str,
    lines: list[int],
    groups: list[str],
    named: list[str | None],
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """The split of each row, given or drawn, once it is known that no group lies in two."""
    given = [split for split in named if split is not None]
    if not given:
        return [drawn_split(group, shares, seed) for group in groups]
    if len(given) < len(named):
        raise ValueError(
            f"{path} must name a split in all lines or in none, got none in line {lines[named.index(None)]}"
        )
    first: dict[str, int] = {}
    for number, group in enumerate(groups):
        other = first.setdefault(group, number)
        if given[other] != given[number]:
            places = [f"{given[at]!r} (line {lines[at]})" for at in (other, number)]
            raise ValueError(f"{path} must put each group into one split, got {group!r} in {' and '.join(places)}")
    return with_validation(given, groups, shares, seed)
