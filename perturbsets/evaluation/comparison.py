"""Comparing classifiers: audits of every attack on each, the fixed ensemble, and adversarial images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Images, Labels, Model
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import GridSearch, RandomSearch
from perturbsets.evaluation.accuracy import AccuracyTable, correct_under, predictions
from perturbsets.evaluation.audit import Audit, audit
from perturbsets.evaluation.robustness import ROBUST, evaluate_robustness
from perturbsets.sets import PerturbationSet

ENSEMBLE = "ensemble"


def compare_audits(
    models: Mapping[str, Model],
    adversaries: Mapping[str, Adversary],
    images: Images,
    labels: Labels,
    *,
    plain: str | None = None,
    groups: Tensor | None = None,
    draws: int = 100,
    generator: torch.Generator | None = None,
    advance: Callable[[], None] | None = None,
) -> dict[str, dict[str, Audit]]:
    """Audits every adversary on every classifier.

    Random draws and grids, and searches without a limit, are left out: an audit asks whether a search is strong.

    Args:
        models: Classifiers by name.
        adversaries: Adversaries by name.
        images: Images in [0, 1].
        labels: Their classes.
        plain: Name of the classifier whose adversarial images are transferred to the others.
        groups: Number of each image's independent unit.
        draws: As for :func:`audit`.
        generator: As for :func:`audit`; each begins with its initial seed.
        advance: Called after each classifier.

    Returns:
        The audits by classifier and adversary.
    """
    results: dict[str, dict[str, Audit]] = {}
    for name, model in models.items():
        results[name] = {
            column: audit(
                adversary,
                model,
                images,
                labels,
                plain=None if plain is None or plain == name else models[plain],
                groups=groups,
                draws=draws,
                generator=generator,
            )
            for column, adversary in adversaries.items()
            if _auditable(adversary)
        }
        if advance is not None:
            advance()
    return results


def _auditable(adversary: Adversary) -> bool:
    unlimited = math.isinf(getattr(adversary.perturbations, "radius", 0.0))
    return not unlimited and not isinstance(adversary.ascent, RandomSearch | GridSearch)


def compare_robustness(
    models: Mapping[str, Mapping[int, Model]],
    images: Images,
    labels: Labels,
    sets: Mapping[str, PerturbationSet],
    *,
    control: str | None = None,
    groups: Tensor | None = None,
    folder: Path | None = None,
    steps: int = 100,
    queries: int = 5000,
    targets: int = 9,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """The fixed ensemble on every classifier and seed, with robust accuracies pooled over seeds.

    Args:
        models: Classifiers by name and seed.
        images: Images in [0, 1].
        labels: Their classes.
        sets: The sets of the ensemble; an image is robust if it is in all of them.
        control: Name of the classifier that all others are compared with, image by image.
        groups: Number of each image's independent unit.
        folder: Where results are kept, so that an interrupted evaluation continues.
        steps: As for :func:`evaluate_robustness`.
        queries: Likewise.
        targets: Likewise.
        generator: Likewise; each evaluation begins with its initial seed.
        progress: Whether to show a progress bar.

    Returns:
        Plain values: ``rows``, a summary for each classifier and seed; ``pooled``; and ``differences`` to the control.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    robust: dict[tuple[str, str], Tensor] = {}
    for name, seeds in models.items():
        flags = []
        for seed, model in seeds.items():
            inside = None if folder is None else folder / name / str(seed)
            result = evaluate_robustness(
                model,
                images,
                labels,
                sets,
                steps=steps,
                queries=queries,
                targets=targets,
                groups=groups,
                folder=inside,
                generator=generator,
                progress=progress,
            )
            rows.setdefault(name, []).append({"seed": seed, **result.summary()})
            flags.append(result.broken_by == ROBUST)
        robust[name, ENSEMBLE] = torch.stack(flags)
    table = AccuracyTable(robust, groups)
    pooled = {name: table.accuracy(name, ENSEMBLE)._asdict() for name in table.rows}
    content = {"sets": list(sets), "pooled": pooled, "rows": rows}
    return content if control is None else content | {"differences": table.differences(control)}


def attack_images(
    model: Model,
    adversaries: Mapping[str, Adversary],
    images: Images,
    labels: Labels,
    *,
    count: int = 8,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Adversarial images of the first images that a classifier has right.

    Args:
        model: The classifier.
        adversaries: Adversaries by name.
        images: Images in [0, 1].
        labels: Their classes.
        count: Number of images, at most.
        generator: Gives the seed of each adversary's draws, its initial one (0 without a generator).

    Returns:
        ``clean`` and ``labels``, and of each adversary ``NAME/images`` and ``NAME/predictions``.
    """
    rows = correct_under(model, None, images, labels).nonzero()[:, 0][:count]
    x, y = images[rows], labels[rows]
    made = {"clean": x, "labels": y}
    for name, adversary in adversaries.items() if len(rows) else ():
        draws = torch.Generator().manual_seed(0 if generator is None else generator.initial_seed())
        adversarial = adversary(model, x, y, generator=draws).images
        made |= {f"{name}/images": adversarial, f"{name}/predictions": predictions(model, adversarial)}
    return made
