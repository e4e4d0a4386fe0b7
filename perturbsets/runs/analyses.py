"""The stages that evaluate classifiers, certify, attack representations and labels, and write the report."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from augment import group_numbers
from cvae.progress import Progress, busy
from perturbsets import evaluation
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import APGD
from perturbsets.certificates import draw_pairs
from perturbsets.certificates.held_out import certify_votes, held_out_images
from perturbsets.criteria import check_held_out
from perturbsets.evaluation.comparison import attack_images, compare_audits, compare_robustness
from perturbsets.knowledge.rule_detector import RuleDetector
from perturbsets.multi_label.evaluation import LabelEvaluation
from perturbsets.recipe import assembly
from perturbsets.report import console as shown
from perturbsets.report import write_report
from perturbsets.representations.experiment import study_representations
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder

PLAIN = "perturbsets.StandardTraining"  # the method whose classifier's adversarial images the audit transfers


def evaluate(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Measures every classifier under every adversary, on test images, and audits every adversary."""
    recipe, settings, sets = run.recipe, run.recipe.evaluate, build.perturbation_sets(run)
    data, models = build.source(recipe, "test"), build.classifiers(run, accelerator.device)
    rows = torch.randperm(len(data), generator=run.generator("test images"))[: settings.images]
    images, labels = (part.to(accelerator.device) for part in data.batch(rows.tolist()))
    groups = group_numbers(data)[rows]
    adversaries = {name: assembly.adversary(part, sets) for name, part in recipe.adversaries.items()}
    with Progress(console=console) as bar:
        task = bar.add_task("evaluate", total=len(models) * (1 + len(adversaries)) * len(recipe.seeds))
        table = evaluation.evaluate(
            models,
            {"clean": None, **adversaries},
            images,
            labels,
            groups=groups,
            generator=run.generator("evaluate"),
            advance=lambda: bar.advance(task),
        )
    described = {name: assembly.described(section) for name, section in recipe.adversaries.items()}
    content = {**table.summary(), "seeds": recipe.seeds, "descriptions": {"clean": "no adversary", **described}}
    if settings.control is not None:
        content["differences"] = table.differences(settings.control)
    correct = {f"{row}/{column}": flags for (row, column), flags in table.correct.items()}
    run.write_tensors("evaluation/correct.safetensors", correct)
    run.write_json("evaluation/evaluation.json", content)
    console.print(table.table())
    if labels.ndim > 1:  # the others are about one class per image
        return
    ensemble, firsts = settings.robustness, {name: seeds[0] for name, seeds in models.items()}
    searches = dict(adversaries)
    if ensemble is not None:
        climb = APGD(ensemble.steps, stop_on_success=True)
        searches |= {f"{name}: apgd-ce": Adversary(sets[name], ascent=climb) for name in ensemble.sets}
    some = slice(settings.audit.images)
    with Progress(console=console) as bar:
        task = bar.add_task("audit", total=len(models))
        audits = compare_audits(
            firsts,
            searches,
            images[some],
            labels[some],
            plain=next((name for name, method in build.methods(recipe).items() if method == PLAIN), None),
            advance=lambda: bar.advance(task),
            groups=groups[some],
            draws=settings.audit.draws,
            generator=run.generator("audit"),
        )
    audited = {row: {column: one.summary() for column, one in cells.items()} for row, cells in audits.items()}
    run.write_json("evaluation/audits.json", {"images": len(images[some]), "rows": audited})
    shown.audits(console, audits)
    name, model = next(iter(firsts.items()))
    made = attack_images(model, adversaries, images, labels, count=settings.shown, generator=run.generator("pictures"))
    run.write_tensors("evaluation/pictures.safetensors", made)
    run.write_json("evaluation/pictures.json", {"classifier": name, "classes": list(data.classes)})
    if "fit" in recipe.stages:  # the check stage comes before there are classifiers
        learned, held = build.learned_set(run, accelerator.device), build.store(run, "test")
        if bool((held.labels >= 0).any()):
            name, measure = settings.reference or list(models)[-1], recipe.check.overapproximation.make()
            around = measure(learned, held, reference=firsts[name], generator=run.generator("labels"))
            kept = around.summary()["labels"]
            run.write_json("evaluation/labels.json", {"classifier": name, **kept})
            console.print(shown.labels_kept(name, kept), highlight=False)
    if ensemble is not None:
        some = slice(ensemble.images)
        robustness = compare_robustness(
            {name: dict(zip(recipe.seeds, seeds, strict=True)) for name, seeds in models.items()},
            images[some],
            labels[some],
            {name: sets[name] for name in ensemble.sets},
            control=settings.control,
            groups=groups[some],
            folder=run.path / "evaluation" / "robustness",
            generator=run.generator("robustness"),
            progress=not console.quiet,
            **ensemble.model_dump(include={"steps", "queries", "targets"}),
        )
        run.write_json("evaluation/robustness.json", robustness)
        console.print(shown.robustness(robustness))


def certify(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Certifies the set from held-out pairs, and classifiers by votes under noise."""
    recipe, settings, device = run.recipe, run.recipe.certify, accelerator.device
    assert settings is not None  # or the recipe has no such stage
    content: dict[str, Any] = {"smoothing": {}}
    arrays: dict[str, Tensor] = {}
    held = needed = None
    with busy("certify", console):
        if settings.coverage is not None or settings.radius is not None:
            learned, stored = build.learned_set(run, device), build.store(run, "test")
            check_held_out(learned, stored)
            held = draw_pairs(stored, generator=run.generator("certify pairs"))
            if settings.coverage is not None:
                covered = settings.coverage.make()(learned, held, generator=run.generator("certify coverage"))
                content["coverage"], arrays["coverage/errors"] = covered.summary(), covered.errors
            if settings.radius is not None:
                needed = settings.radius.make()(learned, held, generator=run.generator("certify radius"))
                content["radius"], arrays["radius/radii"] = needed.summary(), needed.radii
        sets, models = (
            (build.perturbation_sets(run), build.classifiers(run, device)) if settings.smoothing else ({}, {})
        )
        for name, section in settings.smoothing.items():
            source, draws = partial(build.source, recipe, "test"), run.generator("certify certified images")
            images, labels, groups, rows = held_out_images(held, source, section.images, draws)
            content["smoothing"][name], found = certify_votes(
                models[section.classifier][0],
                images.to(device),
                labels.to(device),
                perturbations=sets[section.set],
                needed=needed,
                rows=rows,
                groups=groups,
                generator=run.generator(f"certify smoothing {name}"),
                **section.model_dump(include={"sigma", "contradictions", "selection", "draws", "alpha"}),
            )
            content["smoothing"][name] |= {"classifier": section.classifier, "set": section.set}
            arrays |= {f"smoothing/{name}/{key}": one for key, one in found.items()}
    run.write_tensors("certificates/arrays.safetensors", arrays)
    run.write_json("certificates/certificates.json", content)
    shown.sentences(console, shown.certificates(content))


def representations(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Attacks the representations of a network, and stores figures and pictures."""
    recipe, section, device = run.recipe, run.recipe.representations, accelerator.device
    assert section is not None  # or the recipe has no such stage
    data: dict[str, Any] = {split: build.source(recipe, split) for split in {"train", "test", *section.guides}}
    model, others = build.studied_networks(run, data["test"], device)
    sets = build.perturbation_sets(run) if section.sets else {}
    with Progress(console=console) as bar:
        task = bar.add_task("natural images", total=None)
        content, arrays = study_representations(
            model,
            data,
            section,
            others=others,
            sets={name: sets[name] for name in section.sets},
            ascent=None if section.ascent is None else section.ascent.make(),
            device=device,
            folder=run.path,
            generator=torch.Generator().manual_seed(recipe.seed),
            progress=lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
        )
    content = {"network": section.classifier or type(model).__name__, **content}
    run.write_tensors("representations/arrays.safetensors", arrays)
    run.write_json("representations/representations.json", content)
    shown.sentences(console, shown.representations(content))


def labels(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Attacks the auxiliary classifier, and measures flipped labels and the detection of attacks by rules."""
    recipe, section, device = run.recipe, run.recipe.labels, accelerator.device
    assert section is not None  # or the recipe has no such stage
    test, sets = build.labelled(recipe, "test"), build.perturbation_sets(run)
    network = build.auxiliaries(run, device)[0]
    order = torch.randperm(len(test), generator=run.generator("labels", "test images"))[: section.images]
    images, classes = (part.to(device) for part in test.batch(order.tolist()))
    groups, seed = group_numbers(test)[order], torch.Generator().manual_seed(recipe.seed)
    bench = LabelEvaluation(
        network,
        images,
        test.states(order.tolist()).to(device),
        test.label_names,
        groups=groups,
        top=section.top,
        shown=section.shown,
        generator=seed,
    )
    names = {"labels": list(test.label_names), "classes": list(test.classes), "seed": recipe.seeds[0]}
    content: dict[str, Any] = {**names, **bench.clean(), "attacks": {}, "least": {}, "universal": {}, "detector": None}
    one: Any
    with busy("attacks on labels", console):
        for name, one in section.attacks.items():
            entry = bench.attack(name, assembly.adversary(one, sets), hide=one.hide, show=one.show)
            content["attacks"][name] = {**entry, "objective": one.objective.described()}
        if section.least is not None:
            content["least"] = bench.least_changes(**section.least.model_dump())
        for name, one in section.universal.items():
            objective, training = one.objective.make(), build.labelled(recipe, "train")
            entry = bench.universal(name, sets[one.set], objective, training, images=one.images, epochs=one.epochs)
            content["universal"][name] = {**entry, "objective": one.objective.described()}
    if (settings := section.detector) is not None:
        rules, models = build.rules(recipe), build.classifiers(run, device)
        if rules is None:
            raise ValueError("labels.detector must come with rules of the auxiliary classifier, got none in `trained`")
        held = build.labelled(recipe, "validation")
        natural = held.batch(range(len(held)))[0].to(device)
        adversaries = {name: assembly.adversary(recipe.adversaries[name], sets) for name in settings.adversaries}
        content["detector"] = {"share": settings.share, "weights": settings.weights, "classifiers": {}}
        with busy("detection by rules", console):
            for name in settings.classifiers:
                detector = RuleDetector(models[name][0], network, rules, natural, share=settings.share, generator=seed)
                content["detector"]["classifiers"][name] = detector.evaluate(
                    images, classes, adversaries, weights=settings.weights, groups=groups
                )
    run.write_tensors("labels/arrays.safetensors", bench.arrays)
    run.write_json("labels/labels.json", content)
    shown.labels(console, content)


def report(run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Writes the report."""
    write_report(run.path)
