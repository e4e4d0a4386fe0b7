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
from perturbsets.model_call import initial_seed
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
    advance: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, Audit]]:
    """Audits every adversary on every classifier; arguments not named here are those of :func:`audit`.

    Random draws and grids, and searches without a limit, are left out: an audit asks whether a search is strong.
    Adversarial images of the classifier ``plain`` are transferred to the others; ``advance`` is called after each.
    """
    searches = {
        name: adversary
        for name, adversary in adversaries.items()
        if not math.isinf(getattr(adversary.perturbations, "radius", 0.0))
        and not isinstance(adversary.ascent, RandomSearch | GridSearch)
    }
    how: dict[str, Any] = {"groups": groups, "draws": draws, "generator": generator}
    results: dict[str, dict[str, Audit]] = {}
    for name, model in models.items():
        other = None if plain is None or plain == name else models[plain]
        results[name] = {
            column: audit(adversary, model, images, labels, plain=other, **how)
            for column, adversary in searches.items()
        }
        advance()
    return results


def compare_robustness(
    models: Mapping[str, Mapping[int, Model]],
    images: Images,
    labels: Labels,
    sets: Mapping[str, PerturbationSet],
    *,
    control: str | None = None,
    groups: Tensor | None = None,
    folder: Path,
    **settings: Any,
) -> dict[str, Any]:
    """The fixed ensemble on classifiers by name and seed, with robust accuracies pooled over seeds.

    All others are compared with the classifier ``control``, image by image. Each evaluation has a folder inside the
    one given; further arguments are those of :func:`evaluate_robustness`.

    Returns:
        Plain values: ``rows``, a summary for each classifier and seed; ``pooled``; and ``differences`` to the control.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    robust: dict[tuple[str, str], Tensor] = {}
    for name, seeds in models.items():
        flags = []
        for seed, model in seeds.items():
            inside = folder / name / str(seed)
            result = evaluate_robustness(model, images, labels, sets, groups=groups, folder=inside, **settings)
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
    """Adversarial images of the first images that a classifier has right, so many at most.

    Every adversary's draws begin with the initial seed of the generator (0 without one).

    Returns:
        ``clean`` and ``labels``, and of each adversary ``NAME/images`` and ``NAME/predictions``.
    """
    rows = correct_under(model, None, images, labels).nonzero()[:, 0][:count]
    x, y = images[rows], labels[rows]
    made = {"clean": x, "labels": y}
    for name, adversary in adversaries.items() if len(rows) else ():
        draws = torch.Generator().manual_seed(initial_seed(generator))
        adversarial = adversary(model, x, y, generator=draws).images
        made |= {f"{name}/images": adversarial, f"{name}/predictions": predictions(model, adversarial)}
    return made
