"""Robust accuracy during training: it selects the weights, and stops a training that overfits to its attack."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from cvae import derive_seed
from cvae.progress import Record
from perturbsets._types import Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.worst import Worst
from perturbsets.evaluation import correct_under
from perturbsets.objectives.classification import class_numbers
from perturbsets.printing import Printed

ROUNDING = 1e-9  # accuracies are counts divided: their differences are not exact


@dataclass(frozen=True)
class RobustValidation(Printed):
    r"""Accuracy under an adversary on validation images, for ``train(validate=...)``.

    The score is one minus the robust accuracy, so the weights of the best robust accuracy are kept. Training against
    one step may overfit catastrophically: the classifier is robust to that step and to nothing else. Then robust
    accuracy under several steps falls within an epoch, and :meth:`fallen` stops the training.

    Every call uses the same draws, and processes share the batches, so all get the figures of a single process.

    Args:
        adversary: A stronger one than that of the training.
        images: Validation images, neither trained on nor reported.
        labels: Their classes.
        drop: Fall of the robust accuracy below its best that stops a training, in [0, 1]; 1 never does.
        batch: Images attacked at a time.
        seed: Seed of the adversary's draws, a setting like the others, so that a continued training repeats them.

    Raises:
        ValueError: If a number is outside its range, or there are no images or not one label for each.

    References:
        Rice, Wong and Kolter, *Overfitting in adversarially robust deep learning*, 2020 (selection);
        Wong, Rice and Kolter, *Fast is better than free*, 2020, sec. 5.4 (catastrophic overfitting, detected so).
    """

    adversary: Adversary | Worst
    images: Samples
    labels: Any
    _: KW_ONLY
    drop: float = 0.2
    batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop must be a difference of accuracies in [0, 1], got {self.drop}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if not len(self.images):
            raise ValueError("images must hold at least one image, got none")
        class_numbers(self.labels, self.images)

    def __call__(self, model: nn.Module) -> Record:
        """The figures of a classifier, which is left as it was; its ``score`` is the lower the better it is."""
        device = next((parameter.device for parameter in model.parameters()), self.images.device)
        shared = dist.is_available() and dist.is_initialized()
        rank, processes = (dist.get_rank(), dist.get_world_size()) if shared else (0, 1)
        right = torch.zeros(2, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        labels = class_numbers(self.labels, self.images)
        batches = zip(self.images.split(self.batch), labels.split(self.batch), strict=True)
        for number, (x, y) in enumerate(batches):
            if number % processes == rank:
                x, y = x.to(device), y.to(device)
                generator = torch.Generator().manual_seed(derive_seed(self.seed, "validation", number))
                robust = correct_under(model, self.adversary, x, y, generator=generator, batch=self.batch)
                clean = correct_under(model, None, x, y, batch=self.batch)
                right += torch.stack([robust.sum(), clean.sum()])
        if shared:
            dist.all_reduce(right)
        robust_accuracy, clean_accuracy = (right / len(self.images)).tolist()
        return {"robust_accuracy": robust_accuracy, "clean_accuracy": clean_accuracy, "score": 1 - robust_accuracy}

    def fallen(self, records: list[Record]) -> bool:
        """Whether the last robust accuracy lies more than ``drop`` below the best one, for ``train(stop=...)``."""
        measured = [record["robust_accuracy"] for record in records if "robust_accuracy" in record]
        return bool(measured) and max(measured) - measured[-1] > self.drop + ROUNDING
