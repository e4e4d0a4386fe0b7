"""Pairs from folders of images with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from augment.files import LISTED
from augment.images import list_images
from augment.pairs.files import FilePair, PairedFiles
from augment.splits import assigned_splits, named_splits


@dataclass(frozen=True, eq=False)
class PairedFolders(PairedFiles):
    """Pairs each image of one folder with that of the same name in another.

    Names are compared with their folders and without their extension: ``cat/7.png`` matches ``cat/7.jpg``. If the first
    folders are named train, validation and test, they are the splits; of train and test alone, a part of train is drawn
    for validation. Otherwise splits are drawn. Draws are by a hash of the group's name.

    Args:
        clean: Folder of the clean images.
        changed: Folder of the changed images; or several, by the name of their condition.
        group: The independent unit: each clean image (``"file"``), or each folder of them (``"folder"``), for several
            photographs of one scene.
        size: Height and width of stored images; files are scaled to cover it and cropped around their centre. If not
            given, all files must have one size.
        channels: 3 for RGB, 1 for grey.
        shares: Share of each split, where none are named.
        seed: For the draw of splits.

    Raises:
        ValueError: If folders do not match; the message lists the first ten files without a partner on each side.
    """

    clean: Path | str
    changed: Path | str | Mapping[str, Path | str]
    _: KW_ONLY
    group: Literal["file", "folder"] = "file"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group not in ("file", "folder"):
            raise ValueError(f'group must be "file" or "folder", got {self.group!r}')

    def _pairs(self) -> list[FilePair]:
        changed = self.changed if isinstance(self.changed, Mapping) else {Path(self.changed).name: self.changed}
        clean = _by_name(self.clean, "clean")
        named = named_splits(list(clean.values()))
        groups = {name: name if self.group == "file" else path.parent.as_posix() for name, path in clean.items()}
        splits: dict[str, str] = {}
        if named:
            assigned = assigned_splits(named, list(groups.values()), self.shares, self.seed)
            splits = dict(zip(clean, assigned, strict=True))
        several = isinstance(self.changed, Mapping)
        partners = {
            name: _matched(clean, Path(self.clean), Path(folder), f"changed.{name}" if several else "changed")
            for name, folder in changed.items()
        }
        return [
            FilePair(Path(self.clean) / path, others[name], condition, groups[name], splits.get(name))
            for name, path in clean.items()
            for condition, others in partners.items()
        ]


def _by_name(folder: Path | str, argument: str) -> dict[str, Path]:
    """Relative paths of a folder's images by their names without extension."""
    paths: dict[str, Path] = {}
    for path in list_images(folder, argument):
        name = path.with_suffix("").as_posix()
        if name in paths:
            raise ValueError(f"{folder} must hold one image of each name, got {paths[name]} and {path}")
        paths[name] = path
    return paths


def _matched(clean: Mapping[str, Path], root: Path, folder: Path, argument: str) -> dict[str, Path]:
    """The changed files by name; refuses files without a partner."""
    changed = _by_name(folder, argument)
    lonely = {root: [path for name, path in clean.items() if name not in changed]}
    lonely[folder] = [path for name, path in changed.items() if name not in clean]
    if any(lonely.values()):
        parts = [
            f"{len(paths)} in {where} have no partner: {', '.join(map(str, paths[:LISTED]))}"
            + (", …" if len(paths) > LISTED else "")
            for where, paths in lonely.items()
            if paths
        ]
        raise ValueError(
            f"clean and changed must hold images of the same names, got {'; '.join(parts)}. Names are compared with "
            "their folders and without their extension"
        )
    return {name: folder / path for name, path in changed.items()}
