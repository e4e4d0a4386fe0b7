"""Faults of a recipe that only its files, its data and other runs show, found before any work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from augment import ImageError, MultiLabelSource, PairStore
from perturbsets.loading import load
from perturbsets.recipe import Recipe
from perturbsets.recipe.assembly import auxiliary_kind
from perturbsets.runs import build


def check_data(recipe: Recipe) -> None:
    """Checks a recipe against its files and data, and against the runs that it names.

    Raises:
        ValueError: If they do not fit; all faults are named, by the recipe's keys.
    """
    faults = list(_file_faults(recipe))
    if not faults:
        faults += classifier_misfits(recipe, build.methods(recipe))
    if not faults and (recipe.auxiliary is not None or recipe.labels is not None):
        build.rules(recipe)  # which must fit labels and classes
        faults += label_misfits(recipe, build.labelled(recipe, "test"))
    if faults:
        raise ValueError("recipe must fit its data, got:\n" + "\n".join(f"  {fault}" for fault in faults))


def _file_faults(recipe: Recipe) -> Iterator[str]:
    """Files and folders that are not there or not what they should be."""
    stages, pairs, opened = recipe.stages, recipe.pairs, list[tuple[str, Any, Callable[[], object]]]()
    learning = ("pairs" in stages and pairs.of is None) or not {"auxiliary", "train"}.isdisjoint(stages)
    if recipe.source is not None:
        splits = build.SPLITS if learning else ("test",)
        opened += [("source", recipe.source, partial(_first_image, recipe, split)) for split in splits]
    if "pairs" in stages and pairs.of is not None:
        opened.append(("pairs.of", pairs.of, pairs.of.make().plan))
    if pairs.path is not None:
        opened.append(("pairs.path", None, partial(PairStore, pairs.path)))
    if recipe.learned is not None:
        opened.append(("learned", None, partial(load, recipe.learned)))
    if recipe.trained is not None:
        opened.append(("trained", None, partial(build.methods, recipe)))
    said = set[str]()
    for place, part, open_it in opened:
        try:
            open_it()
        except (ValueError, OSError, ImageError) as error:
            argument = str(error).split(" ", 1)[0].split(".", 1)[0]
            if str(error) not in said:
                yield (
                    f"{place}.{error}"
                    if part is not None and argument in type(part).model_fields
                    else f"{place}: {error}"
                )
            said.add(str(error))


def _first_image(recipe: Recipe, split: str) -> None:
    build.source(recipe, split).batch([0])


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
