"""Data with the states of their labels, and a classifier's logits on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from augment import MultiLabelSource
from perturbsets._types import Images, LabelLogits, States
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.model_call import logits, preserve_state
from perturbsets.printing import Printed
from perturbsets.rows import batches


@dataclass(frozen=True)
class WithStates(Printed):
    """Images, perhaps their classes, and the states of their labels."""

    source: MultiLabelSource
    classes: bool = True

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[0] for part in self.batch([index]))

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, ...]:
        """The same of some images, in [0, 1]."""
        rows = torch.as_tensor(indices).tolist()
        images, classes = self.source.batch(rows)
        states = self.source.states(rows)
        return (images, classes, states) if self.classes else (images, states)


def label_logits(model: nn.Module, images: Images) -> LabelLogits:
    """Logits ``[N, L]`` of a multi-label classifier, batch by batch, on the device of the images."""
    with preserve_state(model, images.device), torch.no_grad():
        return torch.cat([logits(model, part) for part in images.split(BATCH)])


def predict_source(
    model: nn.Module, source: MultiLabelSource, device: torch.device | None = None
) -> tuple[LabelLogits, States]:
    """Logits and states of all images of a source, on the CPU; the model may be on another device."""
    states = source.states(range(len(source)))
    parts = [
        label_logits(model, source.batch(rows.tolist())[0].to(device or "cpu")).cpu() for rows in batches(states, BATCH)
    ]
    return torch.cat(parts), states
