"""Paths that a list names: they must lie inside a folder, and be there."""

from __future__ import annotations

import os
from pathlib import Path

SHOWN = 10


class Inside:
    """Finds the true places of a list's paths, and refuses those that lead out of a folder.

    Each folder's true place is looked up once.

    Args:
        manifest: The list.
        root: The folder.
    """

    def __init__(self, manifest: Path, root: Path) -> None:
        self.manifest, self.root = manifest, root
        self._true_root = os.path.realpath(root)
        self._folders: dict[str, str] = {}
        self._missing: list[str] = []

    def __call__(self, line: int, text: str) -> Path:
        """The true place of a path that stands on some line.

        Raises:
            ValueError: If it leads out of the root, symbolic links included.
        """
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
        """The name of a true place, the same for every spelling and wherever the root lies."""
        return path.relative_to(self._true_root).as_posix()

    def refuse_missing(self) -> None:
        """Refuses files that were asked for and are not there.

        Raises:
            ValueError: Naming the first ten with their lines.
        """
        if self._missing:
            raise ValueError(
                f"{self.manifest} must name files below {self.root}, got {len(self._missing)} that are missing: "
                f"{', '.join(self._missing[:SHOWN])}{', …' if len(self._missing) > SHOWN else ''}"
            )
