"""Pairs from folders that hold the same scenes under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from augment.images import check_shape, list_images
from augment.pairs.files import FilePair, FilePairs
from augment.pairs.plan import Made, PairPlan
from augment.provenance import described
from augment.splits import SHARES, check_shares, named_splits, with_validation

SHOWN = 10


@dataclass(frozen=True, eq=False)
class PairedFolders:
    """Every image of one folder beside that of the same name in another.

    Names are compared with their folders and without their extension: ``cat/7.png`` fits ``cat/7.jpg``. Where the
    first folders are named train, validation and test, they are the splits; of train and test alone, a part of train is
    drawn for validation. Else splits are drawn. Draws are by a hash of the group's name.

    Args:
        clean: Folder of the clean images.
        changed: Folder of the changed ones; or several, by the name of what changed them.
        size: Height and width of stored images; files are scaled to cover it and cropped around their centre. If not
            given, all files must have one size.
        channels: 3 for RGB, 1 for grey.
        group: What is independent: each clean image (``"file"``), or each folder of them (``"folder"``), for several
            pictures of one scene.
        shares: Share of each split, where folders do not name it.
        seed: For the draw of splits.

    Raises:
        ValueError: If folders do not match; the message lists the first ten files without a partner on each side.
    """

    clean: Path | str
    changed: Path | str | Mapping[str, Path | str]
    size: tuple[int, int] | None = None
    channels: int = 3
    group: Literal["file", "folder"] = "file"
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.channels, self.size)
        check_shares(self.shares)
        if self.group not in ("file", "folder"):
            raise ValueError(f'group must be "file" or "folder", got {self.group!r}')

    @cached_property
    def _files(self) -> FilePairs:
        changed = self.changed if isinstance(self.changed, Mapping) else {Path(self.changed).name: self.changed}
        clean = _by_name(self.clean)
        named = named_splits(list(clean.values()))
        groups = {name: name if self.group == "file" else path.parent.as_posix() for name, path in clean.items()}
        splits: dict[str, str] = {}
        if named:
            drawn = with_validation(named, list(groups.values()), self.shares, self.seed)
            splits = dict(zip(clean, drawn, strict=True))
        found = {condition: _matched(clean, Path(self.clean), Path(folder)) for condition, folder in changed.items()}
        pairs = [
            FilePair(
                clean=Path(self.clean) / path,
                changed=others[name],
                condition=condition,
                group=groups[name],
                split=splits.get(name),
            )
            for name, path in clean.items()
            for condition, others in found.items()
        ]
        return FilePairs(pairs, channels=self.channels, size=self.size, shares=self.shares, seed=self.seed)

    def plan(self) -> PairPlan:
        """A pair per clean image and changed folder."""
        return self._files.plan()

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """Reads images of some units."""
        return self._files.make(units)

    def describe(self) -> dict[str, Any]:
        """The arguments."""
        return {"source": described(self)}


def _by_name(folder: Path | str) -> dict[str, Path]:
    """Relative paths of a folder's images by what identifies them."""
    found: dict[str, Path] = {}
    for path in list_images(folder):
        name = path.with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{folder} must hold one image of each name, got {found[name]} and {path}")
        found[name] = path
    return found


def _matched(clean: Mapping[str, Path], root: Path, folder: Path) -> dict[str, Path]:
    """The changed files by name, once they are known to be the clean ones' partners."""
    changed = _by_name(folder)
    lonely = {root: [path for name, path in clean.items() if name not in changed]}
    lonely[folder] = [path for name, path in changed.items() if name not in clean]
    if any(lonely.values()):
        parts = [
            f"{len(paths)} in {place} have no partner: {', '.join(map(str, paths[:SHOWN]))}"
            + (", …" if len(paths) > SHOWN else "")
            for place, paths in lonely.items()
            if paths
        ]
        raise ValueError(
            f"clean and changed must hold images of the same names, got {'; '.join(parts)}. Names are compared with "
            "their folders and without their extension"
        )
    return {name: folder / path for name, path in changed.items()}
