"""What is the same for every attack: how its model calls are counted, and how what it returns is judged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

SLACK = 1e-5  # of the radius, for rounding


class Counted(nn.Module):
    """A frozen classifier that counts the images it meets.

    Attributes:
        forward_images: Images that passed forward.
        backward_images: Images whose gradient came back.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.forward_images = self.backward_images = 0
        self.eval()  # of itself too: some libraries put back into training all that says it trains

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        self.forward_images += len(images)
        if logits.requires_grad:
            logits.register_hook(self._came_back)
        return logits

    def _came_back(self, gradient: Tensor) -> None:
        self.backward_images += len(gradient)


@dataclass(frozen=True)
class Verdict:
    """What an attack achieved.

    Attributes:
        robust: Percentage of images that are right still; one that left ball or bounds counts as robust.
        invalid: Number of images that left them.
        forward: Forward passes, per image.
        backward: Backward passes, per image.
    """

    robust: float
    invalid: int
    forward: float
    backward: float


def judge(counted: Counted, images: Tensor, labels: Tensor, changed: Tensor, norm: str, radius: float) -> Verdict:
    """Judges what an attack on a fresh :class:`Counted` returned."""
    offsets = (changed - images).flatten(1).double()
    distance = offsets.norm(dim=1) if norm == "l2" else offsets.abs().amax(1)
    flat = changed.flatten(1)
    valid = (distance <= radius + SLACK) & (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
    with torch.no_grad():
        turned = counted.model(changed).argmax(1) != labels
    return Verdict(
        robust=100 * float((~(turned & valid)).double().mean()),
        invalid=int((~valid).sum()),
        forward=counted.forward_images / len(images),
        backward=counted.backward_images / len(images),
    )
