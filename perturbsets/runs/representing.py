"""Feature adversaries of a run's network, and all measures of what they show of its representations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress

from cvae.files import atomic_file
from perturbsets.recipe import Recipe
from perturbsets.report.findings import with_interval
from perturbsets.runs.folder import RunFolder
from perturbsets.runs.representation_experiment import Study

FILE = "representations/representations.json"


def representations(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Attacks the representations of a network, describes what comes of it, and stores figures and pictures."""
    with tempfile.TemporaryDirectory(prefix=".banks-", dir=run.path) as banks, Progress(console=console) as bar:
        task = bar.add_task("natural images", total=None)
        study = Study(recipe, run, accelerator.device, Path(banks))
        content = study.about()
        parts = {
            "by_layer": study.by_layer,
            "by_radius": study.by_radius,
            "kinds": study.kinds,
            "sensitivity": study.sensitivity,
            "guides": study.guides,
            "random": study.random,
            "transfer": study.transfer,
            "sets": study.sets,
            "detection": study.detection,
        }
        for number, (name, part) in enumerate(parts.items()):
            bar.update(task, description=name.replace("_", " "), completed=number, total=len(parts))
            content[name] = part()
        study.show()
    with atomic_file(run.path / "representations" / "arrays.safetensors") as file:
        safetensors.torch.save_file({name: one.cpu().contiguous() for name, one in study.arrays.items()}, file)
    run.write_json(FILE, content)
    for sentence in sentences(content):
        console.print(sentence, highlight=False)


def sentences(content: dict[str, Any]) -> list[str]:
    """What was found, a sentence for each layer."""
    said = []
    for layer, found in content["by_layer"].items():
        taken, ratio = (
            with_interval(entry, "{:.1%}".format) for entry in (found["labels"]["takes_guide"], found["ratio"])
        )
        said.append(f"{layer}: {taken} take the guide's label; left of the distance to the guide is {ratio}")
    return said
