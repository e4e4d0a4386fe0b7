"""Training the classifiers of a run, and what each method costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn

from cvae import derive_seed
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder
from perturbsets.runs.label_data import WithStates
from perturbsets.training import DualTargets, Method, gradients_per_image, train_classifier

COSTS = "classifiers/costs.json"


def train(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Trains every classifier once per seed."""
    data: Any = build.source(recipe, "train")
    sets = build.perturbation_sets(recipe, run)
    validation = build.validation(recipe, sets)
    helped = any(getattr(part, "auxiliary_network", None) == "frozen" for part in (recipe.classifiers or {}).values())
    helpers = build.helpers(recipe, run, accelerator.device) if helped else [None] * len(recipe.seeds)
    rules = build.rules(recipe)
    costs: dict[str, Any] = {}
    for name, part in (recipe.classifiers or {}).items():
        for seed, auxiliary in zip(recipe.seeds, helpers, strict=True):
            model = build.classifier_for(recipe, part, data, seed)
            shown = WithStates(data) if hasattr(part, "auxiliary_network") else data
            method = build.method(part, sets, auxiliary, rules)
            folder = run.path / "classifiers" / name / str(seed)
            train_classifier(
                model,
                shown,
                method,
                recipe.train.make(seed=derive_seed(recipe.seed, "train", seed)),
                validation=validation,
                schedule=build.schedule(recipe),
                folder=folder,
                accelerator=accelerator,
                title=f"{name} ({seed})",
                progress=True,
            )
            if accelerator.is_main_process:
                model.save_pretrained(folder)
                if name not in costs:
                    costs[name] = _cost(recipe, method, model, shown, accelerator.device)
    if accelerator.is_main_process:
        run.write_json(COSTS, {"images": recipe.train.steps * recipe.train.batch, "costs": costs})


def _cost(recipe: Recipe, method: Method, model: nn.Module, data: Any, device: torch.device) -> dict[str, float]:
    """Passes that the method takes for each image of a batch, forward and backward."""
    parts = [part.to(device) for part in data.batch(list(range(min(len(data), recipe.train.batch))))]
    generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "cost"))
    labels = parts[1] if len(parts) == 2 else DualTargets(*parts[1:])
    return asdict(gradients_per_image(method, model.to(device), parts[0], labels, generator))
