"""The stages: each reads what former ones wrote and writes its own part of the run folder."""

from __future__ import annotations

import safetensors.torch
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import cvae
from augment import ChangedPairs, write_pairs
from cvae import Pretrained, derive_seed
from cvae.files import atomic_file
from perturbsets.criteria import encodings, radius_from_pairs
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.bench import Bench
from perturbsets.runs.folder import RunFolder
from perturbsets.sets import LatentBall
from perturbsets.training import train_classifier

SPLITS = ("train", "validation", "test")


def pairs(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Makes pairs of images and stores them."""
    sources = {split: recipe.source.make(split=split) for split in SPLITS}
    with Progress(console=console) as bar:
        task = bar.add_task("pairs")
        write_pairs(
            run.path / "pairs.h5",
            ChangedPairs(
                sources,
                build.change(recipe),
                draws={split: getattr(recipe.pairs, split) for split in SPLITS},
                seed=derive_seed(recipe.seed, "pairs"),
            ),
            dtype=recipe.pairs.dtype,
            device=accelerator.device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def fit(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Fits the CVAE to the pairs, measures the radius, and saves the set with its bank."""
    train_pairs, validation_pairs = build.store(run, "train"), build.store(run, "validation")
    model = build.cvae_model(recipe, train_pairs.shape)
    cvae.fit(
        model,
        train_pairs,
        validation_pairs,
        recipe.fit.make(seed=derive_seed(recipe.seed, "fit")),
        folder=run.path / "fit",
        accelerator=accelerator,
        progress=True,
    )
    if not accelerator.is_main_process:
        return
    radius = recipe.set.radius
    if radius is None:
        radius = radius_from_pairs(model, validation_pairs, recipe.set.quantile)
    bank = encodings(model, train_pairs)
    order = torch.Generator().manual_seed(derive_seed(recipe.seed, "bank"))
    bank = bank[torch.randperm(len(bank), generator=order)[: recipe.set.bank]]
    LatentBall(model, radius, bank).save(run.path / "set")
    origin = f"from {len(validation_pairs)} validation pairs" if recipe.set.radius is None else "as the recipe says"
    console.print(f"radius {radius:.2f} prior standard deviations, {origin}")


def check(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Measures the criteria on test pairs."""
    learned = LatentBall.load(run.need("set", "fit"))
    learned.model.to(accelerator.device)
    test_pairs = build.store(run, "test")
    generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "check"))
    necessary = recipe.check.necessary.make()(learned, test_pairs, generator=generator)
    measure = recipe.check.sufficient.make()
    sufficient = measure(learned, test_pairs, generator=generator)
    norms = encodings(learned.model, build.store(run, "validation")).norm(dim=1)
    summary = necessary.summary()
    likelihood = sufficient.summary()
    approximation = likelihood.pop("approximation")
    approximation["share"] = approximation["mean"] / summary["identity"]["mean"]
    arrays = {
        "norms": norms,
        "encoding_error": necessary.encoding,
        "search_error": necessary.search,
        "identity_error": necessary.identity,
        "mismatched_error": necessary.mismatched_search,
    }
    with atomic_file(run.path / "checks" / "arrays.safetensors") as file:
        safetensors.torch.save_file({name: array.cpu().contiguous() for name, array in arrays.items()}, file)
    run.write_json(
        "checks/checks.json",
        {
            "radius": {
                "value": learned.radius,
                "quantile": recipe.set.quantile if recipe.set.radius is None else None,
                "pairs": len(norms),
            },
            "necessary": summary,
            "sufficient": {**likelihood, "draws": measure.draws},
            "approximation": approximation,
        },
    )
    table = Table("error", "mean", "share of identity", "95 % interval")
    for name in ("identity", "reconstruction", "encoding", "search", "mismatched_search"):
        entry = summary[name]
        interval = f"{entry['share_low']:.2%} to {entry['share_high']:.2%}"
        table.add_row(name, f"{entry['mean']:.3g}", f"{entry['share']:.2%}", interval)
    console.print(table)
    bits = likelihood["bits_per_pixel"]
    console.print(f"log-likelihood {bits['mean']:.3f} bits per pixel ({bits['low']:.3f} to {bits['high']:.3f})")


def train(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Trains every classifier once per seed."""
    data = recipe.source.make(split="train")
    sets = build.perturbation_sets(recipe, run)
    validation = build.validation(recipe, sets)
    shape = tuple(data.batch([0])[0].shape[1:])
    for name, part in recipe.classifiers.items():
        for seed in recipe.seeds:
            model = build.classifier(recipe, shape, len(data.classes), seed)
            folder = run.path / "classifiers" / name / str(seed)
            train_classifier(
                model,
                data,
                build.method(part, sets),
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


def evaluate(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Judges every classifier under every adversary, on test images, and every adversary by its audit."""
    sets = build.perturbation_sets(recipe, run)
    data = recipe.source.make(split="test")
    images, labels = data.batch(range(min(len(data), recipe.evaluate.images or len(data))))
    models = {
        name: [
            Pretrained.from_pretrained(run.need(f"classifiers/{name}/{seed}", "train"), device=accelerator.device)
            for seed in recipe.seeds
        ]
        for name in recipe.classifiers
    }
    bench = Bench(recipe, run, sets, models, images.to(accelerator.device), labels.to(accelerator.device), console)
    bench.accuracies()
    bench.audits()
    bench.pictures(data.classes)
    if recipe.evaluate.robustness is not None:
        bench.robustness(recipe.evaluate.robustness)


def report(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Writes the report."""
    from perturbsets.report import write_report

    write_report(run.path)
