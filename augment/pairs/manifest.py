"""Pairs from a list of files in CSV or JSON lines."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from augment.files import Inside, is_whole, named_class, plain_texts, read_listing
from augment.pairs.files import FilePair, PairedFiles
from augment.splits import joined

NEEDED, OPTIONAL = ("clean", "changed"), ("label", "group", "condition", "split")


@dataclass(frozen=True, eq=False)
class Manifest(PairedFiles):
    """Pairs from a list of files, a line a pair.

    The list is a ``.csv`` file with a header line, or a ``.jsonl`` file with one object a line. ``clean`` and
    ``changed`` are paths; optional are ``label`` (whole numbers, also as ``1.0``, or names of classes), ``group`` (the
    independent unit), ``condition`` (what changed the image) and ``split`` (drawn by a hash of the group's name if not
    given). A file may be in several lines. Lines without a group that share a file, also through other lines, are one
    group; its name is the first of its clean files by name, relative to the root.

    Args:
        path: The list.
        root: Folder that paths are relative to, and that no path may lead out of, symbolic links included; the
            list's own folder if not given.
        size: As for :class:`PairedFolders`, like `channels`, `shares` and `seed`.

    Raises:
        ValueError: If the list is of another format, has a wrong line, names files outside of the root or missing ones,
            or puts one file into two groups; lines are numbered from 1, the header included.
    """

    path: Path | str
    _: KW_ONLY
    root: Path | str | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty if labels are numbers."""
        labels = {row["label"] for _, row in self._rows if "label" in row}
        return () if all(is_whole(label) for label in labels) else tuple(sorted(labels))

    @cached_property
    def _rows(self) -> list[tuple[int, dict[str, str]]]:
        return [(line, _checked(self.path, line, row)) for line, row in read_listing(self.path, "pair").rows]

    def _pairs(self) -> list[FilePair]:
        inside = Inside(Path(self.path), Path(self.root) if self.root is not None else Path(self.path).parent)
        numbers = {name: number for number, name in enumerate(self.classes)}
        files = [(inside(line, row["clean"]), inside(line, row["changed"])) for line, row in self._rows]
        inside.refuse_missing()
        groups = self._groups(inside, files)
        pairs = []
        for (_, row), (clean, changed), group in zip(self._rows, files, groups, strict=True):
            label = -1 if "label" not in row else numbers[row["label"]] if numbers else int(row["label"])
            condition = row.get("condition", "changed")
            pairs.append(FilePair(clean, changed, condition, group, row.get("split"), label))
        return pairs

    def _groups(self, inside: Inside, files: list[tuple[Path, Path]]) -> list[str]:
        """The group of each line, given or joined; refuses files in two groups."""
        given = [row.get("group") for _, row in self._rows]
        free = [number for number, group in enumerate(given) if group is None]
        numbers = joined([files[number] for number in free])
        names: dict[int, str] = {}
        for number, group in zip(free, numbers, strict=True):
            name = inside.relative(files[number][0])
            names[group] = min(names.get(group, name), name)
        named = dict(zip(free, (names[group] for group in numbers), strict=True))
        groups = [named[number] if group is None else group for number, group in enumerate(given)]
        first: dict[Path, int] = {}
        for number, both in enumerate(files):
            for file in both:
                other = first.setdefault(file, number)
                if groups[other] != groups[number]:
                    lines = [f"{groups[at]!r} (line {self._rows[at][0]})" for at in (other, number)]
                    raise ValueError(
                        f"{self.path} must put each file into one group, got {' and '.join(lines)} for "
                        f"{inside.relative(file)}: give both lines one group"
                    )
        return groups

    def describe(self) -> dict[str, Any]:
        """The arguments and the classes."""
        return {**super().describe(), "classes": list(self.classes)}


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
