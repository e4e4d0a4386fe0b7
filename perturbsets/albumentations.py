"""Learned perturbation sets in albumentations' pipelines."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import augment
from augment.albumentations import SeededTransform
from perturbsets.loading import load


class Perturb(SeededTransform):
    """Draws from a learned set: :class:`augment.Perturb` for albumentations' pipelines.

    Each process loads the set once, at its first image; a saved pipeline and workers get the name or path alone.

    Args:
        folder: What :func:`perturbsets.load` takes: the name of a pretrained set, a folder, a hub repository.
        moves_pixels: Whether the set may move pixels. Then samples with masks, boxes or key points are refused;
            otherwise these pass through.
        p: Probability with which a call changes anything.

    Raises:
        FileNotFoundError: At the first image, if there is no such set or a file of it is missing.
        ValueError: At the first image, if a file is corrupted or foreign.
    """

    class InitSchema(SeededTransform.InitSchema):
        """Types of the arguments, which albumentations checks."""

        folder: str | Path
        moves_pixels: bool

    def __init__(self, folder: str | Path, moves_pixels: bool = True, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.folder, self.moves_pixels = str(folder), moves_pixels

    @property
    def transform(self) -> augment.Perturb:
        return _loaded(self.folder, self.moves_pixels)


@cache
def _loaded(folder: str, moves_pixels: bool) -> augment.Perturb:
    return augment.Perturb(load(folder), moves_pixels=moves_pixels)
