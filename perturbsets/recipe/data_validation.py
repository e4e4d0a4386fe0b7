"""Faults of names in a recipe that only its data and other runs know: labels and trained classifiers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from augment import MultiLabelSource
from perturbsets.recipe.assembly import auxiliary_kind
from perturbsets.recipe.schema import Recipe


def classifier_misfits(recipe: Recipe, known: Collection[str]) -> Iterator[str]:
    """Names of classifiers that the run `trained` does not have; names of the recipe's own were checked before."""
    named = {"evaluate.reference": recipe.evaluate.reference, "evaluate.control": recipe.evaluate.control}
    if recipe.labels is not None and recipe.labels.detector is not None:
        named |= {f"labels.detector.classifiers.{i}": one for i, one in enumerate(recipe.labels.detector.classifiers)}
    for place, wanted in named.items() if recipe.trained is not None else ():
        if wanted is not None and wanted not in known:
            yield f"{place} must be one of {sorted(known)}, got {wanted!r}"


def label_misfits(recipe: Recipe, data: MultiLabelSource) -> Iterator[str]:
    """Multi-label objectives that do not fit the labels, and unknown names of labels."""
    section, known, states = recipe.labels, list(data.label_names), data.states(range(len(data)))
    targets: dict[str, Any] = {}
    users: dict[str, Any] = {}
    if recipe.auxiliary is not None and recipe.auxiliary.adversary is not None:
        users["auxiliary.adversary"] = recipe.auxiliary.adversary
    methods = (recipe.classifiers or {}).items()
    users |= {f"classifiers.{name}": part for name, part in methods if auxiliary_kind(part) is not None}
    if section is not None:
        targets = {f"labels.attacks.{name}": attack for name, attack in section.attacks.items()}
        users |= targets | {f"labels.universal.{name}": change for name, change in section.universal.items()}
        targets |= {} if section.least is None else {"labels.least": section.least}
        if section.top >= len(known):
            yield f"labels.top: must be below the number of labels, {len(known)}, got {section.top}"
    for place, user in users.items():
        try:
            objective = user.objective.make()
            rows = objective.attainable(states).nonzero()[:1, 0]
            logits = torch.zeros_like(states[rows])
            objective.at(nn.Identity(), logits, states[rows])(logits, logits)
        except ValueError as error:
            yield f"{place}.objective: {error}"
    for place, target in targets.items():
        for key in ("hide", "show"):
            for name in (name for name in getattr(target, key) if name not in known):
                yield f"{place}.{key}: {name!r} is none of {', '.join(known)}"
        if both := sorted(set(target.hide) & set(target.show)):
            yield f"{place}: {', '.join(both)} cannot be hidden and shown"
