"""Attacks on the labels of a run's auxiliary classifier, and what the rules between labels and classes detect."""

from __future__ import annotations

from typing import Any

import safetensors.torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table

from cvae.files import atomic_file
from perturbsets.recipe import Recipe
from perturbsets.runs.folder import RunFolder
from perturbsets.runs.label_attacks import attacks, least, universal
from perturbsets.runs.label_bench import LabelBench
from perturbsets.runs.rule_detector import detected

FILE = "labels/labels.json"


def labels(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Attacks the auxiliary classifier; measures which labels flip and how well rules detect attacks."""
    bench = LabelBench(recipe, run, accelerator.device)
    content = bench.about()
    with console.status("attacks on labels"):
        content["attacks"] = attacks(bench)
        content["least"] = least(bench)
        content["universal"] = universal(bench)
    with console.status("detection by rules"):
        content["detector"] = detected(recipe, run, accelerator.device)
    with atomic_file(run.path / "labels" / "arrays.safetensors") as file:
        safetensors.torch.save_file({name: one.cpu().contiguous() for name, one in bench.arrays.items()}, file)
    run.write_json(FILE, content)
    console.print(_shown(content))
    for sentence in sentences(content):
        console.print(sentence, highlight=False)


def _shown(content: dict[str, Any]) -> Table:
    """The attacks in a table for the console."""
    table = Table("attack", "reached in %", "collateral flips", "L2", "L-inf", "ms an image")
    for name, entry in {**content["attacks"], **content["least"], **content["universal"]}.items():
        if not entry["images"]:
            continue
        targeted = entry["targeted"]
        collateral = "" if targeted is None else f"{targeted['collateral']['mean']:.2f}"
        table.add_row(
            name,
            f"{100 * entry['success']['mean']:.1f}",
            collateral,
            *("" if one is None else f"{one:.3g}" for one in (entry["norms"]["l2"], entry["norms"]["linf"])),
            "" if entry["seconds"] is None else f"{1000 * entry['seconds']:.1f}",
        )
    return table


def sentences(content: dict[str, Any]) -> list[str]:
    """What rules detect, a sentence for each classifier and adversary."""
    said = []
    for classifier, found in (content["detector"] or {"classifiers": {}})["classifiers"].items():
        for name, entry in found["adversaries"].items():
            areas = (
                f"{entry[kind]['area']['mean']:.3f}" if "area" in entry[kind] else "not measured (too few fooled)"
                for kind in ("plain", "adaptive")
            )
            said.append(
                "{} under {}: area {} against the attack as it is, {} where it knows the rules".format(
                    classifier, name, *areas
                )
            )
    return said
