"""Image files of a data set: shared settings, their state, and lists of them in CSV or JSON lines."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augment.images import check_shape
from augment.splits import SHARES, check_shares

LISTED = 10  # files that a message names
_NUMERIC = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True, eq=False, kw_only=True)
class FileSettings:
    """Settings of everything that reads image files.

    Args:
        size: Height and width, at least 8: images are scaled to cover it and cropped around their centre. If not given,
            all files must have one size.
        channels: 3 for RGB, 1 for grey.
        shares: Share of each split, where none are named.
        seed: For the draw of splits.

    Raises:
        ValueError: If a number is out of range, or shares do not sum to 1.
    """

    size: tuple[int, int] | None = None
    channels: int = 3
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.channels, self.size)
        check_shares(self.shares)


def file_state(paths: Sequence[Path]) -> str:
    """A hash of names, sizes and times of files, which changes when one is replaced."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            about = path.stat()
            digest.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path} missing\n".encode())
    return digest.hexdigest()


class Inside:
    """Resolves the paths of a list, and refuses those that lead out of the root; each folder is resolved once."""

    def __init__(self, manifest: Path, root: Path) -> None:
        self.manifest, self.root = manifest, root
        self._true_root = os.path.realpath(root)
        self._folders: dict[str, str] = {}
        self._missing: list[str] = []

    def __call__(self, line: int, text: str) -> Path:
        """The resolved path of a line; raises an error if it leads out of the root, symbolic links included."""
        path = os.path.join(self.root, text)
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        true = os.path.join(self._folders[folder], name)
        if name in ("", ".", "..") or os.path.islink(true):
            true = os.path.realpath(path)
        if os.path.commonpath([true, self._true_root]) != self._true_root:
            raise ValueError(
                f"{self.manifest}, line {line}: {text} leads out of the root {self.root}, to {true}. Move the file "
                "inside, or give a root that holds all files"
            )
        if not os.path.isfile(true):
            self._missing.append(f"{text} (line {line})")
        return Path(true)

    def relative(self, path: Path) -> str:
        """A resolved path relative to the root."""
        return path.relative_to(self._true_root).as_posix()

    def refuse_missing(self) -> None:
        """Refuses missing files of the lines so far; names the first ten with their lines."""
        if self._missing:
            raise ValueError(
                f"{self.manifest} must name files below {self.root}, got {len(self._missing)} that are missing: "
                f"{', '.join(self._missing[:LISTED])}{', …' if len(self._missing) > LISTED else ''}"
            )


@dataclass(frozen=True)
class Listing:
    """The content of a list of files: its columns in order of appearance, and each row by column with its line.

    Lines are numbered from 1, the header included. Empty values are left out; those missing at the end of a line of CSV
    are None.
    """

    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, Any]]]


def read_listing(path: Path | str, of: str) -> Listing:
    """Reads a list of pairs or images: a ``.csv`` file with a header line, or a ``.jsonl`` file with one object a line.

    Raises:
        ValueError: If the list is missing, empty, of another format, unreadable, or names a column twice.
    """
    path = Path(path)
    readers = {".csv": _csv, ".jsonl": _json, ".ndjson": _json}
    if path.suffix.lower() not in readers:
        raise ValueError(f"path must end in .csv or .jsonl, got {path}")
    if not path.is_file():
        raise ValueError(f"path must be a list of {of}s, got {path}, which is no file")
    try:
        listing = readers[path.suffix.lower()](path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be text in UTF-8 of the kind its name says: {error}") from error
    if not listing.rows:
        raise ValueError(f"{path} must list at least one {of}, got none")
    return listing


def _csv(path: Path) -> Listing:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, restkey="more values than columns")
        columns = tuple(reader.fieldnames or ())
        if len(set(columns)) < len(columns):
            raise ValueError(f"{path} must name each column once, got {', '.join(columns)}")
        rows = [(reader.line_num, {name: value for name, value in row.items() if value != ""}) for row in reader]
    return Listing(columns, rows)


def _json(path: Path) -> Listing:
    rows, columns = [], dict[str, None]()
    with path.open(encoding="utf-8-sig") as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise ValueError(f"{path}, line {line}, must be JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {line}, must be a JSON object, got {type(row).__name__}")
            columns |= dict.fromkeys(row)
            rows.append((line, {name: value for name, value in row.items() if value not in (None, "")}))
    return Listing(tuple(columns), rows)


def named_class(path: Path | str, line: int, column: str, value: Any) -> Any:
    """The name or whole number of a class; ``1.0``, as tables with gaps often have it, is the number 1."""
    text = str(value)
    if isinstance(value, bool | list | dict) or is_whole(text) or not _NUMERIC.fullmatch(text):
        return value
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"{path}, line {line}: {column} must be a whole number or the name of a class, got {text}")
    return int(number)


def plain_texts(path: Path | str, line: int, row: dict[str, Any]) -> dict[str, str]:
    """The values of a row as text; refuses those that are neither text nor whole numbers."""
    wrong = [name for name, value in row.items() if isinstance(value, bool | float | list | dict)]
    if wrong:
        raise ValueError(f"{path}, line {line}: {wrong[0]} must be text or a whole number, got {row[wrong[0]]!r}")
    return {name: str(value) for name, value in row.items()}


def is_whole(text: str) -> bool:
    """Whether a text is a whole number."""
    return text.removeprefix("-").isdecimal()
