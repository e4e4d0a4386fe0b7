"""A folder of images, read batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from augment._types import Images, Indices, Labels
from augment.files import FileSettings, file_state
from augment.images import list_images, read_images
from augment.sources.source import LabelledImages
from augment.splits import assigned_splits, in_split, named_splits


@dataclass(frozen=True, eq=False)
class ImageFolder(FileSettings, LabelledImages):
    """Images below a folder, with its subfolders, if any, as their classes.

    If the first folders are named train, validation and test, they are the splits, and classes are the folders inside
    them; of train and test alone, a part of train is drawn for validation. Otherwise splits are drawn by a hash of each
    file's relative name, so that new files do not move others. Pixels are read batch by batch.

    Args:
        split: The split.
        root: The folder.
        size: Height and width, at least 8: images are scaled to cover it and cropped around their centre.
        channels: 3 for RGB, 1 for grey.
        shares: Share of each split, where none are named.
        seed: For the draw of splits.

    Raises:
        ValueError: If the folder is missing, or the split unknown or empty.
        ImageError: When an image is read that cannot be used; see :func:`read_image`.
    """

    split: str = "train"
    root: Path | str = "data/images"
    _: KW_ONLY
    size: tuple[int, int] = (32, 32)

    @cached_property
    def _files(self) -> list[Path]:
        """Files of all splits, relative to the root."""
        return list_images(self.root)

    @cached_property
    def _folders(self) -> list[tuple[str, ...]]:
        """Folders of each file, without those of splits."""
        skip = 1 if named_splits(self._files) else 0
        return [path.parent.parts[skip:] for path in self._files]

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted; empty if there are none, and labels are -1."""
        return tuple(sorted({folder[0] for folder in self._folders})) if all(self._folders) else ()

    @cached_property
    def indices(self) -> Indices:
        """Positions of the split's images among all files, in order of name."""
        names = [path.as_posix() for path in self._files]
        splits = assigned_splits(named_splits(self._files), names, self.shares, self.seed)
        return torch.tensor(in_split(self.split, splits, self.root), dtype=torch.int64)

    @cached_property
    def labels(self) -> Labels:
        """Classes of the split's images."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        labels = [numbers[self._folders[file][0]] if numbers else -1 for file in self.indices.tolist()]
        return torch.tensor(labels, dtype=torch.int64)

    @cached_property
    def paths(self) -> list[Path]:
        """Files of the split, relative to the root."""
        return [self._files[number] for number in self.indices.tolist()]

    @property
    def state(self) -> str:
        """A hash of names, sizes and times of the split's files."""
        return file_state([Path(self.root) / path for path in self.paths])

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and classes at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        files = [Path(self.root) / self.paths[number] for number in positions]
        return read_images(files, channels=self.channels, size=self.size), self.labels[positions]
