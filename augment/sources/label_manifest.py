"""Multi-label images from a list of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from augment._types import Images, Indices, Labels, States
from augment.files import LISTED, FileSettings, Listing, file_state, is_whole, read_listing
from augment.images import read_images
from augment.sources.labelled_rows import ABOUT, LabelledRow, label_columns, labelled_rows
from augment.sources.source import LabelledImages
from augment.splits import in_split


@dataclass(frozen=True, eq=False)
class LabelManifest(FileSettings, LabelledImages):
    """Images from a list of files, with a class and the states of labels: on, off or unknown.

    The list is a ``.csv`` file with a header line, or a ``.jsonl`` file with one object a line. ``image`` is a path;
    optional are ``class`` (a name or a whole number), ``split`` and ``group`` (the independent unit, such as the person
    on a face: each group is in one split). All other columns are labels: 1 for on, 0 for off, empty or NaN for unknown.
    If no line names a split, splits are drawn by a hash of the group's name, or of the image's without one; of train
    and test alone, a part of train is drawn for validation. The list is read at the first use, pixels batch by batch.

    No data set of faces is free, so none comes with this toolkit. Lists for three of them:

    - CK+: ``image`` is the last frame of a sequence, which has been coded, and ``group`` the folder of the person
      (``S005``). An action unit is 1 if the FACS file lists it, with any intensity (0 there means that it was not
      graded), else 0. ``class`` is the name of the number in the emotion file; sequences without such a file have it
      empty, and are left out unless `classed` is False.
    - DISFA: a line for each frame, or for each tenth, as neighbours hardly differ; ``group`` is the person (``SN001``),
      and a column for each action unit holds the intensity, 0 to 5, of its file. There are no classes: `classed` is
      False, and the usual `threshold` is 2.
    - RAF-AU: a line for each image, with a 1 for each action unit that its code lists and a 0 for others; empty for
      those that were not coded. ``class`` is the emotion with most votes. There is no group.

    Args:
        path: The list.
        split: The split.
        root: Folder that paths are relative to, and that no path may lead out of, symbolic links included; the
            list's own folder if not given.
        size: As for :class:`ImageFolder`, like `channels`, `shares` and `seed`.
        labels: The columns that are labels, in this order; all except image, class, split and group if not given.
        threshold: Intensity from which on a label is on; if not given, values must be states.
        highest: The largest intensity; larger ones, such as codes for unknown, are refused.
        classed: Whether to leave out images without a class; if not, their class is -1.
        drop_unlabelled: Whether to leave out images without any known state, which are refused otherwise.

    Raises:
        ValueError: If an argument is out of range; and, when the list is first read, if it is of another format, has a
            wrong line, names an image twice, names files outside of the root or missing ones, or puts a group into two
            splits. Lines are numbered from 1, the header included.
        ImageError: When an image is read that cannot be used; see :func:`read_image`.

    References:
        Lucey et al., *The extended Cohn-Kanade dataset (CK+)*, CVPR workshops, 2010. Mavadati et al., *DISFA: a
        spontaneous facial action intensity database*, IEEE Transactions on Affective Computing, 2013. Yan et al.,
        *RAF-AU database* (arXiv 2008.05196).
    """

    path: Path | str
    split: str = "train"
    _: KW_ONLY
    root: Path | str | None = None
    size: tuple[int, int] = (64, 64)
    channels: int = 1
    labels: Sequence[str] | None = None
    threshold: float | None = None
    highest: float = 5.0
    classed: bool = True
    drop_unlabelled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None and (
            not self.labels or len(set(self.labels)) < len(self.labels) or set(self.labels) & {*ABOUT, ""}
        ):
            raise ValueError(
                f"labels must be names of columns, each once and none of {', '.join(ABOUT)}, got {list(self.labels)}"
            )
        if not 0 < self.highest < math.inf:
            raise ValueError(f"highest must be a finite intensity above 0, got {self.highest}")
        if self.threshold is not None and not 0 < self.threshold <= self.highest:
            raise ValueError(
                f"threshold must be an intensity above 0, at most the highest ({self.highest:g}), got {self.threshold}"
            )

    @cached_property
    def _listing(self) -> Listing:
        return read_listing(self.path, "image")

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the columns of their states."""
        return label_columns(self._listing, self.labels, self.path)

    @cached_property
    def _rows(self) -> list[LabelledRow]:
        """The images that are not left out, of all splits."""
        root = self.root if self.root is not None else Path(self.path).parent
        rows = labelled_rows(
            self.path,
            self._listing,
            root,
            self.label_names,
            threshold=self.threshold,
            highest=self.highest,
            shares=self.shares,
            seed=self.seed,
        )
        lacking = [row for row in rows if all(math.isnan(state) for state in row.states)]
        if lacking and not self.drop_unlabelled:
            more = f", … ({len(lacking)} lines)" if len(lacking) > LISTED else ""
            raise ValueError(
                f"{self.path} must have at least one known state for each image, got none in line "
                f"{', '.join(str(row.line) for row in lacking[:LISTED])}{more}: drop_unlabelled=True leaves them out"
            )
        dropped = {row.number for row in lacking}
        if self.classed:
            dropped |= {row.number for row in rows if row.kind is None}
        kept = [row for row in rows if row.number not in dropped]
        if not kept:
            raise ValueError(
                f"{self.path} must list images with {'a class and ' if self.classed else ''}a known state, got none: "
                "classed=False takes images without a class"
            )
        return kept

    @cached_property
    def _chosen(self) -> list[LabelledRow]:
        """The rows of the split."""
        return [self._rows[number] for number in in_split(self.split, [row.split for row in self._rows], self.path)]

    @property
    def name(self) -> str:
        """The list."""
        return str(self.path)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in all splits, sorted, whole numbers by size; empty where no image has one."""
        kinds = {row.kind for row in self._rows if row.kind is not None}
        return tuple(sorted(kinds, key=int if all(is_whole(kind) for kind in kinds) else None))

    @cached_property
    def indices(self) -> Indices:
        """Positions of the split's images among all that are listed."""
        return torch.tensor([row.number for row in self._chosen], dtype=torch.int64)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The group of each image: the name that the list gives, or the image's own relative to the root."""
        return tuple(row.group for row in self._chosen)

    @cached_property
    def groups(self) -> Indices:
        """Number of each image's group: the position of its first image among all that are listed."""
        first: dict[str, int] = {}
        return torch.tensor([first.setdefault(row.group, row.number) for row in self._chosen], dtype=torch.int64)

    @property
    def state(self) -> str:
        """A hash of names, sizes and times of the list and of the split's files."""
        return file_state([Path(self.path), *(row.image for row in self._chosen)])

    @cached_property
    def _classes_of_images(self) -> Labels:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([-1 if row.kind is None else numbers[row.kind] for row in self._chosen], dtype=torch.int64)

    @cached_property
    def _states(self) -> States:
        return torch.tensor([row.states for row in self._chosen], dtype=torch.float32)

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Images, Labels]:
        """Images in [0, 1] and classes at positions of this split."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        files = [self._chosen[number].image for number in positions]
        return read_images(files, channels=self.channels, size=self.size), self._classes_of_images[positions]

    def states(self, indices: Sequence[int] | Tensor) -> States:
        """1 where a label is on, 0 where it is off, NaN where that is unknown, at positions of this split."""
        return self._states[torch.as_tensor(indices, dtype=torch.int64)]
