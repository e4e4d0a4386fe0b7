"""The stages that make pairs, sets and classifiers; the others are in :mod:`perturbsets.runs.analyses`.

Each reads the recipe and the results of former stages, calls the library, and writes its results.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

import cvae
from augment import contact_sheet, group_numbers, write_pairs
from cvae import LoopSettings, Pretrained
from cvae.progress import Progress, busy, read_records
from perturbsets.criteria import SetQuality, encodings, radius_by_group, radius_from_pairs
from perturbsets.criteria.check import check_set
from perturbsets.criteria.figures import holding
from perturbsets.criteria.fitted import fitted_figures
from perturbsets.criteria.pairs import Pairs
from perturbsets.criteria.verdict import judge
from perturbsets.intervals import independent
from perturbsets.multi_label import DualTargets, choose_thresholds, multi_label_scores
from perturbsets.multi_label.data import WithStates, predict_source
from perturbsets.recipe import assembly
from perturbsets.report import console as shown
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder, need
from perturbsets.sets import LatentBall, PairsUsed
from perturbsets.training import Method, gradients_per_image, train_classifier


def pairs(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Makes or collects pairs of images and stores them, with a sheet of thumbnails."""
    settings = run.recipe.pairs
    with Progress(console=console) as bar:
        task = bar.add_task("pairs")
        written = write_pairs(
            run.path / "pairs.h5",
            build.pair_source(run),
            dtype=settings.dtype,
            device=accelerator.device,
            processes=settings.processes,
            strict=settings.strict,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    contact_sheet(written.path, run.path / "figures" / "pairs-sheet.png")
    content = {name: getattr(written, name) for name in ("pairs", "images", "counts", "skipped")}
    run.write_json("pairs.json", content)
    shown.pairs(console, content)


def fit(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Fits the CVAE to the pairs, measures the radius, and saves the set with its bank."""
    recipe, training, held = run.recipe, build.store(run, "train"), build.store(run, "validation")
    model = build.cvae_model(run, training.shape)
    with training.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    cvae.fit(
        model,
        training,
        held,
        recipe.fit.make(seed=run.seed("fit")),
        folder=run.path / "fit",
        accelerator=accelerator,
        progress=not console.quiet,
        identity=f"pairs={digest.hexdigest()[:16]}",
    )
    if not accelerator.is_main_process:
        return
    radius, origin = recipe.set.radius, "as given by the recipe"
    if radius is None:
        radius = radius_from_pairs(model, held, quantile=recipe.set.quantile)
        origin = f"from {len(held)} validation pairs"
    bank = encodings(model, training)
    bank = bank[torch.randperm(len(bank), generator=run.generator("bank"))[: recipe.set.bank]]
    used = (PairsUsed.of("fit", training), PairsUsed.of("selection", held))
    LatentBall(model, radius, bank=bank, learned_from=used).save(run.path / "set")
    console.print(f"radius {radius:.2f} prior standard deviations, {origin}")


def check(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Measures the criteria on test pairs, and on pairs of unseen conditions where there are any."""
    recipe, settings, learned = run.recipe, run.recipe.check, LatentBall.load(need(run.path, "set", "fit"))
    learned.model.to(accelerator.device)
    held, test = build.store(run, "validation"), build.store(run, "test")
    norms = encodings(learned.model, held).norm(dim=1)
    features = settings.quality.features

    def measure(split: Pairs, second: float | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
        names = ("necessary", "sufficient", "overapproximation", "theorems")
        content, arrays = check_set(
            learned,
            split,
            **{name: getattr(settings, name).make() for name in names},
            quality=SetQuality(features.make(), neighbours=settings.quality.neighbours),
            second=second,
            generator=run.generator("check"),
        )
        if "quality" in content:
            content["quality"]["features"] = features.build.rsplit(".", 1)[1]
        return content, arrays

    with busy("check", console):
        content, arrays = measure(test, None if settings.quantile is None else holding(norms, settings.quantile))
        if "unseen" in test.splits:
            content["unseen"], _ = measure(build.store(run, "unseen"))
    content["radius"] = {
        "value": learned.radius,
        "quantile": recipe.set.quantile if recipe.set.radius is None else None,
        "pairs": len(norms),
        "sources": len(held.sources.unique()),
        "groups": radius_by_group(learned.model, held, quantile=recipe.set.quantile),
    }
    records = read_records(run.path / "fit" / "metrics.jsonl")
    content["fitted"] = fitted_figures(learned.model, build.store(run, "train"), records, batch=recipe.fit.batch)
    content["verdict"] = judge(content).summary()
    run.write_tensors("checks/arrays.safetensors", {"norms": norms, **arrays})
    run.write_json("checks/checks.json", content)
    console.print(shown.criteria(content))
    if "unseen" in content:
        console.print("unseen conditions:", shown.criteria(content["unseen"]))


def _train(
    run: RunFolder,
    accelerator: Accelerator,
    model: Pretrained,
    data: Any,
    method: Method,
    settings: LoopSettings,
    folder: str,
    **others: Any,
) -> None:
    """Trains one classifier and saves it."""
    path = run.path / folder
    title = f"{path.parent.name} ({path.name})"
    train_classifier(model, data, method, settings, folder=path, accelerator=accelerator, title=title, **others)
    if accelerator.is_main_process:
        model.save_pretrained(path)


def auxiliary(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Trains the auxiliary classifier once per seed, chooses its thresholds, and measures it on test images."""
    recipe, section, data = run.recipe, run.recipe.auxiliary, build.labelled(run.recipe, "train")
    assert section is not None  # or the recipe has no such stage
    method = build.auxiliary_method(recipe, data, build.perturbation_sets(run))
    images = WithStates(data, classes=False)
    for seed in recipe.seeds:
        model, folder = build.auxiliary_network(run, data, seed), f"auxiliary/{seed}"
        settings = (section.train or recipe.train).make(seed=run.seed("auxiliary", seed))
        _train(run, accelerator, model, images, method, settings, folder, progress=not console.quiet)
        if accelerator.is_main_process:
            thresholds = torch.zeros(len(data.label_names))
            if section.thresholds != "none":
                held = predict_source(model, build.labelled(recipe, "validation"), accelerator.device)
                thresholds = choose_thresholds(*held, metric=section.thresholds)
            run.write_json(f"{folder}/thresholds.json", {"thresholds": thresholds.tolist()})
    if not accelerator.is_main_process:
        return
    test = build.labelled(recipe, "test")
    groups, scores = group_numbers(test), list[dict[str, Any]]()
    for seed, network in zip(recipe.seeds, build.auxiliaries(run, accelerator.device), strict=True):
        predicted = predict_source(network, test, accelerator.device)
        scores.append({"seed": seed, **multi_label_scores(*predicted, groups).summary()})
    counts = {"images": len(test), "independent": independent(len(test), groups)}
    run.write_json("auxiliary/scores.json", {**counts, "labels": list(test.label_names), "seeds": scores})
    console.print(shown.auxiliary(scores))


def train(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Trains every classifier once per seed, and counts the passes of each method."""
    recipe, sets, parts = run.recipe, build.perturbation_sets(run), run.recipe.classifiers or {}
    data, validation, rules = build.source(recipe, "train"), build.validation(run, sets), build.rules(recipe)
    kinds = {name: assembly.auxiliary_kind(part) for name, part in parts.items()}
    frozen = "frozen" in kinds.values()
    auxiliaries = build.auxiliaries(run, accelerator.device) if frozen else [None] * len(recipe.seeds)
    costs: dict[str, Any] = {}
    for name, part in parts.items():
        items: Any = data if kinds[name] is None else WithStates(build.labelled(recipe, "train"))
        for seed, network in zip(recipe.seeds, auxiliaries, strict=True):
            model, method = build.classifier(run, part, data, seed), build.method(part, sets, network, rules)
            settings, folder = recipe.train.make(seed=run.seed("train", seed)), f"classifiers/{name}/{seed}"
            how = {"validation": validation, "schedule": assembly.schedule(recipe.schedule, recipe.train.steps)}
            _train(run, accelerator, model, items, method, settings, folder, progress=not console.quiet, **how)
            if accelerator.is_main_process and name not in costs:
                rows = range(min(len(items), recipe.train.batch))
                images, *labels = (one.to(accelerator.device) for one in items.batch(list(rows)))
                targets = labels[0] if len(labels) == 1 else DualTargets(*labels)
                model.to(accelerator.device)
                costs[name] = asdict(gradients_per_image(method, model, images, targets, run.generator("cost")))
    if accelerator.is_main_process:
        run.write_json("classifiers/costs.json", {"images": recipe.train.steps * recipe.train.batch, "costs": costs})
