"""Pairs from a list: one line a pair, in CSV or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from augment.files import Inside, is_whole, named_class, plain_texts, read_listing
from augment.images import check_shape
from augment.pairs.files import FilePair, FilePairs
from augment.pairs.plan import Made, PairPlan
from augment.provenance import described
from augment.splits import SHARES, check_shares, joined

NEEDED, OPTIONAL = ("clean", "changed"), ("label", "group", "condition", "split")


@dataclass(frozen=True, eq=False)
class Manifest:
    """Pairs of files that a list names.

    A ``.csv`` file has a head line with the columns' names; a ``.jsonl`` file has one object a line. ``clean`` and
    ``changed`` are paths; optional are ``label`` (whole numbers, also as ``1.0``, or names of classes), ``group`` (the
    independent unit), ``condition`` (what changed it) and ``split`` (drawn by a hash of the group's name if not given).
    A file may stand in several lines. Lines without a group that share a file, however it is spelled, are one group,
    also through other lines; its name is the first of its clean files by name, relative to the root.

    Args:
        path: The list.
        root: Folder that paths are relative to, and that no path may lead out of, symbolic links included; the
            list's own folder if not given.
        size: Height and width of stored images, as for :class:`PairedFolders`.
        channels: 3 for RGB, 1 for grey.
        shares: Share of each split, where lines name none.
        seed: For the draw of splits.

    Raises:
        ValueError: If the list is of another kind, has a faulty line, names files that lead out of the root or are
            missing, or puts one file into two groups; lines are numbered from 1, the head included.
    """

    path: Path | str
    root: Path | str | None = None
    size: tuple[int, int] | None = None
    channels: int = 3
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.channels, self.size)
        check_shares(self.shares)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, where labels are names; empty where they are numbers."""
        labels = {row["label"] for _, row in self._rows if "label" in row}
        return () if all(is_whole(label) for label in labels) else tuple(sorted(labels))

    @cached_property
    def _rows(self) -> list[tuple[int, dict[str, str]]]:
        return [(line, _checked(self.path, line, row)) for line, row in read_listing(self.path, "pair").rows]

    @cached_property
    def _files(self) -> FilePairs:
        inside = Inside(Path(self.path), Path(self.root) if self.root is not None else Path(self.path).parent)
        numbers = {name: number for number, name in enumerate(self.classes)}
        places = [(inside(line, row["clean"]), inside(line, row["changed"])) for line, row in self._rows]
        inside.refuse_missing()
        groups = self._groups(inside, places)
        pairs = []
        for (_, row), (clean, changed), group in zip(self._rows, places, groups, strict=True):
            label = row.get("label")
            pairs.append(
                FilePair(
                    clean=clean,
                    changed=changed,
                    condition=row.get("condition", "changed"),
                    group=group,
                    split=row.get("split"),
                    label=-1 if label is None else numbers[label] if numbers else int(label),
                )
            )
        return FilePairs(pairs, channels=self.channels, size=self.size, shares=self.shares, seed=self.seed)

    def _groups(self, inside: Inside, places: list[tuple[Path, Path]]) -> list[str]:
        """The group of each line, given or joined, once it is known that no file has two."""
        given = [row.get("group") for _, row in self._rows]
        free = [number for number, group in enumerate(given) if group is None]
        numbers = joined([places[number] for number in free])
        names: dict[int, str] = {}
        for number, group in zip(free, numbers, strict=True):
            name = inside.relative(places[number][0])
            names[group] = min(names.get(group, name), name)
        found = dict(zip(free, (names[group] for group in numbers), strict=True))
        groups = [found[number] if group is None else group for number, group in enumerate(given)]
        first: dict[Path, int] = {}
        for number, files in enumerate(places):
            for file in files:
                other = first.setdefault(file, number)
                if groups[other] != groups[number]:
                    lines = [f"{groups[at]!r} (line {self._rows[at][0]})" for at in (other, number)]
                    raise ValueError(
                        f"{self.path} must put each file into one group, got {' and '.join(lines)} for "
                        f"{inside.relative(file)}: give both lines one group"
                    )
        return groups

    def plan(self) -> PairPlan:
        """A pair per line."""
        return self._files.plan()

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """Reads images of some units."""
        return self._files.make(units)

    def describe(self) -> dict[str, Any]:
        """The arguments and the classes."""
        return {"source": described(self), "classes": list(self.classes)}


def _checked(path: Path | str, line: int, row: dict[str, Any]) -> dict[str, str]:
    row = {name: value for name, value in row.items() if value is not None}
    unknown = sorted(set(row) - {*NEEDED, *OPTIONAL})
    missing = [name for name in NEEDED if name not in row]
    if unknown or missing:
        raise ValueError(
            f"{path}, line {line}, must have {' and '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}; "
            + "; ".join([f"{name!r} is missing" for name in missing] + [f"{name!r} is unknown" for name in unknown])
        )
    if "label" in row:
        row = {**row, "label": named_class(path, line, "label", row["label"])}
    return plain_texts(path, line, row)
