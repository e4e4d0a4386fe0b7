"""Attacks on the labels of a run's auxiliary: by adversaries, by least changes, and by one change for all images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from perturbsets._types import Rows, States
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.universal import find_universal
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.multi_label import BinaryCrossEntropy, label_linear_programme, multi_label_deepfool
from perturbsets.runs import build
from perturbsets.runs.label_bench import Attacked, LabelBench


def attacks(bench: LabelBench) -> dict[str, Any]:
    """Each attack of the recipe."""
    found = {}
    section: Any
    for name, section in bench.settings.attacks.items():
        objective = section.objective.make()
        adversary = Adversary(bench.sets[section.set], objective, section.ascent.make())
        asked = bench.asked(section) if section else None
        wanted = bench.states if asked is None else bench.pattern(section)
        rows = bench.standing(objective, wanted)
        found[name] = bench.entry(name, _searched(bench, name, adversary, rows, wanted), asked)
        found[name]["objective"] = section.objective.described()
    return found


def least(bench: LabelBench) -> dict[str, Any]:
    """The least changes that reach the labels asked for, the others left alone."""
    section = bench.settings.least
    if section is None:
        return {}
    asked, wanted = bench.asked(section), bench.pattern(section)
    rows = bench.standing(BinaryCrossEntropy(targeted=True), wanted)[: section.images]
    kinds: dict[str, Callable[[], Any]] = {
        "deepfool": lambda: multi_label_deepfool(bench.model, bench.images[rows], wanted[rows], steps=section.steps),
        "linear-programme-linf": lambda: label_linear_programme(
            bench.model, bench.images[rows], wanted[rows], norm="linf", steps=section.steps
        ),
        "linear-programme-l1": lambda: label_linear_programme(
            bench.model, bench.images[rows], wanted[rows], norm="l1", steps=section.steps
        ),
    }
    entries = {}
    for name, search in kinds.items():
        begun = time.perf_counter()
        found = search()
        seconds = time.perf_counter() - begun
        attacked = Attacked(rows, found.images, found.radii.isfinite(), found.calls, seconds)
        entries[name] = bench.entry(name, attacked, asked, found_only=True)
    return entries


def universal(bench: LabelBench) -> dict[str, Any]:
    """One change for all images, found on training images."""
    entries = {}
    section: Any
    for name, section in bench.settings.universal.items():
        objective = section.objective.make()
        data = build.labelled(bench.recipe, "train")
        order = torch.randperm(len(data), generator=bench.generator(name))
        order = order[objective.attainable(data.states(order.tolist()))][: section.images]
        found = find_universal(
            bench.sets[section.set],
            objective,
            bench.model,
            data.batch(order.tolist())[0].to(bench.device),
            data.states(order.tolist()).to(bench.device),
            epochs=section.epochs,
            generator=bench.generator(name),
        )
        rows = bench.standing(objective, bench.states)
        images = found.images(bench.images[rows])
        attacked = Attacked(rows, images, bench.success(objective, images, bench.states[rows]), None, None)
        entries[name] = bench.entry(name, attacked, None)
        entries[name]["objective"] = section.objective.described()
    return entries


def _searched(bench: LabelBench, name: str, adversary: Adversary, rows: Rows, wanted: States) -> Attacked:
    """What an adversary finds, a batch at a time."""
    generator, begun = bench.generator(name), time.perf_counter()
    found = [
        adversary.select(part)(bench.model, bench.images[part], wanted[part], generator=generator)
        for part in rows.split(BATCH)
    ]
    images = torch.cat([part.images for part in found])
    success, calls = (torch.cat([getattr(part, key) for part in found]) for key in ("success", "calls"))
    return Attacked(rows, images, success, calls, time.perf_counter() - begun)
