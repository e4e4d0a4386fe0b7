"""Labelled images that are drawn when asked for, and lie nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class RandomImages:
    """Uniform noise; image i has label ``(7 i) mod classes``, so that labels are in no order."""

    count: int
    shape: tuple[int, ...] = (1, 8, 8)
    kinds: int = 3
    asked: list[int] = field(default_factory=list, init=False, repr=False)
    """First rows of the batches asked for."""

    classes = ("ant", "bee", "cow")

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        self.asked.append(rows[0])
        generator = torch.Generator().manual_seed(rows[0])
        images = torch.rand(len(rows), *self.shape, generator=generator)
        return images, 7 * torch.tensor(rows) % self.kinds
