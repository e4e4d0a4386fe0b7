"""The multi-label classifier that helps: trained once per seed, with thresholds, and measured."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from augment import MultiLabelSource, group_numbers
from cvae import derive_seed
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.intervals import independent
from perturbsets.model_call import logits, preserve_state
from perturbsets.multi_label import choose_thresholds, multi_label_scores
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder
from perturbsets.runs.label_data import WithStates
from perturbsets.training import train_classifier

FIGURES = {"mean_average_precision": "mAP", "macro_f1": "macro F1", "exact_match": "all states right"}


def auxiliary(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Trains the auxiliary classifier once per seed, chooses its thresholds, and measures it on test images."""
    section = recipe.auxiliary
    assert section is not None  # or the recipe has no such stage
    data = build.labelled(recipe, "train")
    sets = build.perturbation_sets(recipe, run)
    channels, height, width = data.batch([0])[0].shape[1:]
    method = build.helper_method(recipe, data, sets)
    settings = section.train or recipe.train
    for seed in recipe.seeds:
        model = build.auxiliary_network(recipe, (channels, height, width), len(data.label_names), seed)
        folder = run.path / "auxiliary" / str(seed)
        train_classifier(
            model,
            WithStates(data, classes=False),
            method,
            settings.make(seed=derive_seed(recipe.seed, "auxiliary", seed)),
            folder=folder,
            accelerator=accelerator,
            title=f"auxiliary ({seed})",
            progress=True,
        )
        if accelerator.is_main_process:
            model.save_pretrained(folder)
            thresholds = torch.zeros(len(data.label_names))
            if section.thresholds != "none":
                held = build.labelled(recipe, "validation")
                thresholds = choose_thresholds(*judged(model, held, accelerator.device), metric=section.thresholds)
            run.write_json(f"auxiliary/{seed}/thresholds.json", {"thresholds": thresholds.tolist()})
    if accelerator.is_main_process:
        _measure(recipe, run, accelerator.device, console)


def _measure(recipe: Recipe, run: RunFolder, device: torch.device, console: Console) -> None:
    """The auxiliary classifiers' scores on test images."""
    test = build.labelled(recipe, "test")
    groups, content = group_numbers(test), list[dict[str, Any]]()
    shown = Table("auxiliary", *FIGURES.values())
    for seed, model in zip(recipe.seeds, build.helpers(recipe, run, device), strict=True):
        found = multi_label_scores(*judged(model, test, device), groups).summary()
        content.append({"seed": seed, **found})
        shown.add_row(f"seed {seed}", *(_percent(found[name]) for name in FIGURES))
    counts = {"images": len(test), "independent": independent(len(test), groups)}
    run.write_json("auxiliary/scores.json", {**counts, "labels": list(test.label_names), "seeds": content})
    console.print(shown)


def _percent(figure: Any) -> str:
    mean = figure["mean"] if isinstance(figure, dict) else figure
    return "none" if mean is None else f"{100 * mean:.1f} %"


def judged(model: nn.Module, data: MultiLabelSource, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits ``[N, L]`` of all images of a source, and their states."""
    rows = torch.arange(len(data))
    with preserve_state(model, device), torch.no_grad():
        parts = [logits(model, data.batch(part.tolist())[0].to(device)).cpu() for part in rows.split(BATCH)]
    return torch.cat(parts), data.states(rows.tolist())
