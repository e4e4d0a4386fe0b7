"""The stages: each reads what former ones wrote and writes its own part of the run folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import cvae
from augment import contact_sheet, group_numbers, write_pairs
from cvae import derive_seed
from cvae.files import atomic_file
from perturbsets.criteria import encodings, radius_by_group, radius_from_pairs
from perturbsets.criteria.figures import holding
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.check import measure, shown
from perturbsets.runs.evaluate import Bench
from perturbsets.runs.folder import RunFolder
from perturbsets.sets import LatentBall, PairsUsed


def pairs(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Makes or collects pairs of images and stores them, with a sheet of thumbnails."""
    settings = recipe.pairs
    with Progress(console=console) as bar:
        task = bar.add_task("pairs")
        written = write_pairs(
            run.path / "pairs.h5",
            build.pair_source(recipe),
            dtype=settings.dtype,
            device=accelerator.device,
            processes=settings.processes,
            strict=settings.strict,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    contact_sheet(written.path, run.path / "figures" / "pairs-sheet.png")
    content = {"pairs": written.pairs, "images": written.images, "counts": written.counts, "skipped": written.skipped}
    run.write_json("pairs.json", content)
    table = Table("split", "pairs", "conditions")
    for split, counts in written.counts.items():
        table.add_row(split, f"{sum(counts.values()):,}", ", ".join(counts))
    console.print(table)
    if written.skipped:
        console.print(f"{len(written.skipped)} images could not be read and were skipped; pairs.json names them")


def fit(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Fits the CVAE to the pairs, measures the radius, and saves the set with its bank."""
    train_pairs, validation_pairs = build.store(recipe, run, "train"), build.store(recipe, run, "validation")
    model = build.cvae_model(recipe, train_pairs.shape)
    cvae.fit(
        model,
        train_pairs,
        validation_pairs,
        recipe.fit.make(seed=derive_seed(recipe.seed, "fit")),
        folder=run.path / "fit",
        accelerator=accelerator,
        progress=True,
        identity=f"pairs={_digest(train_pairs.path)}",
    )
    if not accelerator.is_main_process:
        return
    radius = recipe.set.radius
    if radius is None:
        radius = radius_from_pairs(model, validation_pairs, quantile=recipe.set.quantile)
    bank = encodings(model, train_pairs)
    order = torch.Generator().manual_seed(derive_seed(recipe.seed, "bank"))
    bank = bank[torch.randperm(len(bank), generator=order)[: recipe.set.bank]]
    used = (PairsUsed.of("fit", train_pairs), PairsUsed.of("selection", validation_pairs))
    LatentBall(model, radius, bank=bank, learned_from=used).save(run.path / "set")
    origin = f"from {len(validation_pairs)} validation pairs" if recipe.set.radius is None else "as the recipe says"
    console.print(f"radius {radius:.2f} prior standard deviations, {origin}")


def check(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Measures the criteria on test pairs, and on pairs of unseen conditions where there are any."""
    learned = LatentBall.load(run.need("set", "fit"))
    learned.model.to(accelerator.device)
    validation_pairs = build.store(recipe, run, "validation")
    norms = encodings(learned.model, validation_pairs).norm(dim=1)
    content: dict[str, Any] = {
        "radius": {
            "value": learned.radius,
            "quantile": recipe.set.quantile if recipe.set.radius is None else None,
            "pairs": len(norms),
            "groups": radius_by_group(learned.model, validation_pairs, quantile=recipe.set.quantile),
        }
    }
    test_pairs = build.store(recipe, run, "test")
    second = None if recipe.check.quantile is None else holding(norms, recipe.check.quantile)
    measured, arrays = measure(recipe, learned, test_pairs, second)
    content |= measured
    if "unseen" in test_pairs.splits:
        content["unseen"], _ = measure(recipe, learned, build.store(recipe, run, "unseen"))
    with atomic_file(run.path / "checks" / "arrays.safetensors") as file:
        arrays = {"norms": norms, **arrays}
        safetensors.torch.save_file({name: array.cpu().contiguous() for name, array in arrays.items()}, file)
    run.write_json("checks/checks.json", content)
    console.print(shown(content))
    if "unseen" in content:
        console.print("unseen conditions:", shown(content["unseen"]))


def evaluate(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Judges every classifier under every adversary, on test images, and every adversary by its audit."""
    sets = build.perturbation_sets(recipe, run)
    data = build.source(recipe, "test")
    order = torch.Generator().manual_seed(derive_seed(recipe.seed, "test images"))
    rows = torch.randperm(len(data), generator=order)[: recipe.evaluate.images]  # sources may be sorted by class
    images, labels = data.batch(rows.tolist())
    models = build.classifiers(recipe, run, accelerator.device)
    images, labels = images.to(accelerator.device), labels.to(accelerator.device)
    bench = Bench(recipe, run, sets, models, images, labels, group_numbers(data)[rows], console)
    bench.accuracies()
    if labels.ndim == 1:  # the audit and its pictures are about one class per image
        bench.audits()
        bench.pictures(data.classes)
        if "fit" in recipe.stages:  # the check stage comes before there are classifiers
            learned, held = LatentBall.load(run.need("set", "fit")), build.store(recipe, run, "test")
            learned.model.to(accelerator.device)
            if bool((held.labels >= 0).any()):
                bench.labels_kept(learned, held)
    if recipe.evaluate.robustness is not None and labels.ndim == 1:
        bench.robustness(recipe.evaluate.robustness)


def report(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Writes the report."""
    from perturbsets.report import write_report

    write_report(run.path)


def _digest(file: Path) -> str:
    """The first sixteen hexadecimal digits of a file's SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
