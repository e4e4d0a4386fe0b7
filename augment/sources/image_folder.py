"""A folder of images of one's own, read batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from augment._types import Images, Indices, Labels
from augment.files import file_state
from augment.images import check_shape, list_images, read_images
from augment.splits import SHARES, check_shares, drawn_split, named_splits, with_validation


@dataclass(frozen=True, eq=False)
class ImageFolder(Dataset[tuple[Float[Tensor, "C H W"], int]]):
    """Images below a folder; the folders inside it are their classes, if there are any.

    Where the first folders are named train, validation and test, they are the splits, and classes are looked for
    inside them; of train and test alone, a part of train is drawn for validation. Else splits are drawn. Draws are by a
    hash of each file's relative name, so that new files move no other.
    Only names are read at first; pixels when they are asked for.

    Args:
        split: Which split.
        root: The folder.
        size: Height and width, at least 8: images are scaled to cover it and cropped around their centre.
        channels: 3 for RGB, 1 for grey.
        shares: Share of each split, where folders do not name it.
        seed: For the draw of splits.

    Raises:
        ValueError: If the folder is missing, or the split unknown or empty.
        ImageError: When an image is asked for that cannot be used; see :func:`read_image`.
    """

    split: str = "train"
    root: Path | str = "data/images"
    size: tuple[int, int] = (32, 32)
    channels: int = 3
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.channels, self.size)
        check_shares(self.shares)

    @cached_property
    def _listed(self) -> tuple[list[Path], list[Path], list[int], list[int]]:
        """All files; those of the split, their positions among all, and their classes."""
        paths = list_images(self.root)
        named = named_splits(paths)
        names = [path.as_posix() for path in paths]
        if named:
            splits = with_validation(named, names, self.shares, self.seed)
        else:
            splits = [drawn_split(name, self.shares, self.seed) for name in names]
        if self.split not in splits:
            raise ValueError(
                f"split must be one that holds images, got {self.split!r}: in {self.root} there are "
                f"{sorted(set(splits)) or 'none'}"
            )
        folders = [path.parent.parts[1:] if named else path.parent.parts for path in paths]
        chosen = [number for number, split in enumerate(splits) if split == self.split]
        classes = {name: number for number, name in enumerate(self._classes(folders))}
        labels = [classes[folders[number][0]] if classes else -1 for number in chosen]
        return paths, [paths[number] for number in chosen], chosen, labels

    def _classes(self, folders: list[tuple[str, ...]]) -> list[str]:
        """Names of the folders right below; none if some images lie outside of them."""
        return sorted({folder[0] for folder in folders}) if all(folders) else []

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted; empty where there are none, and labels are -1."""
        paths = self._listed[0]
        skip = 1 if named_splits(paths) else 0
        return tuple(self._classes([path.parent.parts[skip:] for path in paths]))

    @cached_property
    def labels(self) -> Labels:
        """Classes of the split's images."""
        return torch.tensor(self._listed[3], dtype=torch.int64)

    @cached_property
    def indices(self) -> Indices:
        """Positions of the split's images among all files, in order of name."""
        return torch.tensor(self._listed[2], dtype=torch.int64)

    @property
    def paths(self) -> list[Path]:
        """Files of the split, relative to the root."""
        return self._listed[1]

    @property
    def state(self) -> str:
        """Names, sizes and times of the split's files, as one word."""
        return file_state([Path(self.root) / path for path in self.paths])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "C H W"], int]:
        """One image and its class."""
        images, labels = self.batch([index])
        return images[0], int(labels[0])

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and classes at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        files = [Path(self.root) / self.paths[number] for number in positions]
        return read_images(files, channels=self.channels, size=self.size), self.labels[positions]
