"""Trains with each method on several processes, and prints as JSON what they did together.

Run by tests/test_processes.py under torchrun; it counts by a communication hook how often gradients were shared.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.utils.data import TensorDataset

from cvae import LoopSettings, derive_seed
from perturbsets import Adversary, PixelBall, ProjectedGradient, RobustValidation, train_classifier
from perturbsets.evaluation import correct_under

STEPS = 3


class Counting(Accelerator):
    """Takes down each sharing of gradients."""

    def prepare(self, *given: Any) -> Any:
        model, optimizer = super().prepare(*given)
        self.shared: list[bool] = []
        model.register_comm_hook(self.shared, _counted)
        return model, optimizer


def _counted(shared: list[bool], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    shared.append(bucket.is_last())
    return allreduce_hook(None, bucket)


def _listed(file: str) -> Any:
    """A module of lists that every method joins."""
    spec = importlib.util.spec_from_file_location("listed", Path(__file__).parent / file)
    assert spec is not None
    assert spec.loader is not None
    listed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(listed)
    return listed


def _trainings() -> list[tuple[Any, Callable[[], nn.Module], TensorDataset]]:
    """Each method with what it trains and the data for it."""
    torch.manual_seed(1)
    plain = TensorDataset(torch.rand(24, 1, 4, 4), torch.randint(0, 3, (24,)))
    trainings = [(method, _classifier, plain) for method in _listed("test_training.py").METHODS]
    for methods, network, data in _listed("training/dual_methods.py").TRAININGS:
        trainings += [(method, network, data()) for method in methods]
    return trainings


def _classifier() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.BatchNorm1d(8),
        nn.Linear(8, 3),
    )


def _same(tensors: list[Tensor]) -> bool:
    """Whether all processes hold the same values."""
    flat = torch.cat([torch.zeros(1).double(), *(tensor.detach().double().flatten() for tensor in tensors)])
    gathered = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, flat)
    return all(torch.equal(flat, other) for other in gathered)


def main() -> None:
    settings = LoopSettings(steps=STEPS, batch=8, validate_every=2)
    attack = Adversary(PixelBall("linf", 0.2), ascent=ProjectedGradient(2))
    reports: list[dict[str, Any]] = []
    for method, network, data in _trainings():
        torch.manual_seed(0)
        accelerator, model, judged = Counting(), network(), data.tensors[:2]
        classed = not judged[1].is_floating_point()
        validation = RobustValidation(attack, *judged, drop=1.0, batch=5) if classed else None
        records = train_classifier(model, data, method, settings, validation=validation, accelerator=accelerator)
        reports.append(
            {
                "method": repr(method),
                "steps": STEPS * getattr(method, "replays", 1),
                "shared": len(accelerator.shared),
                "buckets": len(accelerator.shared) // sum(accelerator.shared),
                "same_weights": _same(list(model.parameters())),
                "same_statistics": _same(list(model.buffers())),
            }
        )
        if validation is not None:
            generators = [torch.Generator().manual_seed(derive_seed(0, "validation", number)) for number in range(5)]
            apart = [
                correct_under(model, attack, x, y, generator=generator)
                for x, y, generator in zip(*(part.split(5) for part in judged), generators, strict=True)
            ]
            reports[-1] |= {
                "robust": [record["robust_accuracy"] for record in records if "robust_accuracy" in record],
                "robust_together": validation(model)["robust_accuracy"],
                "robust_apart": torch.cat(apart).double().mean().item(),
            }
    if dist.get_rank() == 0:
        print(json.dumps({"processes": dist.get_world_size(), "methods": reports}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
