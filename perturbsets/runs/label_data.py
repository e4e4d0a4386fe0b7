"""A source whose batches hold the states of labels beside images and classes, or instead of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from augment import MultiLabelSource


@dataclass(frozen=True)
class WithStates:
    """Images with their classes and the states of their labels.

    Args:
        source: Where they come from.
        classes: Whether classes are among them.
    """

    source: MultiLabelSource
    classes: bool = True

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[0] for part in self.batch([index]))

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, ...]:
        """Images in [0, 1], classes if asked for, and states."""
        rows = torch.as_tensor(indices).tolist()
        images, classes = self.source.batch(rows)
        states = self.source.states(rows)
        return (images, classes, states) if self.classes else (images, states)
