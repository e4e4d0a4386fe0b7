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


@dataclass(frozen=True)
class WithStates(Printed):
    """Images with their classes and the states of their labels.

    Args:
        source: The images.
        classes: Whether items hold classes, between image and states.
    """

    source: MultiLabelSource
    classes: bool = True

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[0] for part in self.batch([index]))

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, ...]:
        """Images in [0, 1], perhaps classes, and states."""
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
    """Logits and states of all images of a source, on the CPU.

    Args:
        model: A multi-label classifier, on the device.
        source: The images.
        device: Where the model is; the CPU if not given.
    """
    parts = []
    for rows in torch.arange(len(source)).split(BATCH):
        parts.append(label_logits(model, source.batch(rows.tolist())[0].to(device or "cpu")).cpu())
    return torch.cat(parts), source.states(range(len(source)))
