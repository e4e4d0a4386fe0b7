"""Training state in one safetensors file, so that it is whole or absent, and never a pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cvae.files import atomic_file

Tensors = dict[str, Tensor]


@dataclass
class Progress:
    """How far a training run has come.

    Attributes:
        step: Steps done.
        best_score: Lowest validation score so far.
        best: Weights at that score.
    """

    step: int = 0
    best_score: float = float("inf")
    best: Tensors | None = None

    def offer(self, score: float, model: nn.Module) -> None:
        """Keeps the model's weights if they are the best so far."""
        if score < self.best_score or self.best is None:
            self.best_score = score
            self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, settings: str
) -> None:
    """Writes weights, best weights, optimizer state and progress as one file.

    Args:
        file: Where to write.
        model: The model being trained.
        optimizer: Its optimizer.
        progress: Step, best score and best weights.
        settings: Text that a later run must match to continue from this file.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in (progress.best or {}).items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}
    about = {"step": progress.step, "best_score": progress.best_score, "settings": settings}
    with atomic_file(file) as temporary:
        safetensors.torch.save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            temporary,
            metadata={"checkpoint": json.dumps(about)},
        )


def load_checkpoint(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: str) -> Progress:
    """Puts a checkpoint back into a model and its optimizer.

    Args:
        file: A file of :func:`save_checkpoint`; a missing one means that training starts afresh.
        model: The model to fill.
        optimizer: The optimizer to fill.
        settings: Must equal the text the checkpoint was saved with.

    Returns:
        The progress made.

    Raises:
        ValueError: If the file is corrupted, or belongs to other settings or another model.
    """
    if not file.exists():
        return Progress()
    try:
        with safetensors.safe_open(file, "pt") as reader:
            about: dict[str, Any] = json.loads((reader.metadata() or {})["checkpoint"])
            step, best_score, former = about["step"], about["best_score"], about["settings"]
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no whole checkpoint ({error}): delete it to start afresh") from error
    if former != settings:
        raise ValueError(
            f"{file} was made with other settings:\n  then {former}\n  now  {settings}\n"
            "Continue with the former settings, choose another folder, or remove this one to begin anew"
        )

    def part(prefix: str) -> Tensors:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    try:
        model.load_state_dict(part("model."))
    except RuntimeError as error:
        raise ValueError(f"{file} holds another model: {error}. Choose another folder") from error
    entries: dict[int, Tensors] = {}
    for name, tensor in part("optimizer.").items():
        index, key = name.split(".", 1)
        entries.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(step, best_score, part("best.") or None)
