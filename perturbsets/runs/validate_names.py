"""Names in a recipe that only its data and former runs know: labels, their rules, and trained classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from augment import MultiLabelSource
from perturbsets.multi_label import MultiLabelObjective
from perturbsets.recipe import Recipe
from perturbsets.runs import build


def check_names(recipe: Recipe) -> None:
    """Holds a recipe against its source and the run whose classifiers it takes, before any work.

    Raises:
        ValueError: If rules do not fit labels and classes, objectives do not fit the labels, or labels or classifiers
            are named that there are not; all such faults are listed.
    """
    faults = list(_strange_classifiers(recipe))
    if recipe.auxiliary is not None or recipe.labels is not None:
        build.rules(recipe)
        faults += _faults(recipe, build.labelled(recipe, "test"))
    if faults:
        raise ValueError("recipe must fit its data, got:\n" + "\n".join(f"  {fault}" for fault in faults))


def _strange_classifiers(recipe: Recipe) -> Iterator[str]:
    """Classifiers that are named, but not trained in the run they are taken from."""
    if recipe.trained is None:
        return  # the recipe's own were held against its names before
    known = list(build.methods(recipe))
    named = {"evaluate.reference": recipe.evaluate.reference, "evaluate.control": recipe.evaluate.control}
    detector = None if recipe.labels is None else recipe.labels.detector
    for number, name in enumerate([] if detector is None else detector.classifiers):
        named[f"labels.detector.classifiers.{number}"] = name
    for place, wanted in named.items():
        if wanted is not None and wanted not in known:
            yield f"{place} must be one of {sorted(known)}, got {wanted!r}"


def _faults(recipe: Recipe, data: MultiLabelSource) -> Iterator[str]:
    states = data.states(list(range(len(data))))
    for place, objective in _objectives(recipe):
        try:
            _try(objective, states)
        except ValueError as error:
            yield f"{place}.objective: {error}"
    section, known = recipe.labels, list(data.label_names)
    if section is None:
        return
    asking: dict[str, Any] = {f"attacks.{name}": attack for name, attack in section.attacks.items()}
    if section.least is not None:
        asking["least"] = section.least
    for place, asked in asking.items():
        for key in ("hide", "show"):
            for name in getattr(asked, key):
                if name not in known:
                    yield f"labels.{place}.{key}: {name!r} is none of {', '.join(known)}"
        if both := sorted(set(asked.hide) & set(asked.show)):
            yield f"labels.{place}: {', '.join(both)} cannot be hidden and shown"
    if section.top >= len(known):
        yield f"labels.top: must be below the number of labels, {len(known)}, got {section.top}"


def _objectives(recipe: Recipe) -> Iterator[tuple[str, MultiLabelObjective]]:
    """Every multi-label objective of a recipe, and where it stands."""
    users: dict[str, Any] = {}
    if recipe.auxiliary is not None and recipe.auxiliary.adversary is not None:
        users["auxiliary.adversary"] = recipe.auxiliary.adversary
    for name, part in (recipe.classifiers or {}).items():
        if hasattr(part, "auxiliary_network"):
            users[f"classifiers.{name}"] = part
    if recipe.labels is not None:
        users |= {f"labels.attacks.{name}": attack for name, attack in recipe.labels.attacks.items()}
        users |= {f"labels.universal.{name}": change for name, change in recipe.labels.universal.items()}
    for place, user in users.items():
        yield place, user.objective.make()


def _try(objective: MultiLabelObjective, states: Tensor) -> None:
    """Binds an objective to some states of the data and asks it once."""
    rows = objective.attainable(states).nonzero()[:1, 0]
    logits = torch.zeros_like(states[rows])
    objective.at(nn.Identity(), logits, states[rows])(logits, logits)
