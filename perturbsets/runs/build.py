"""From the parts of a recipe, and the results of its run, to objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from augment import Change, ChangedPairs, MultiLabelSource, PairSource, PairStore, Portion, Source
from cvae import CVAE, Pretrained
from perturbsets.knowledge import BoundRules, Rules
from perturbsets.knowledge.rules import TABLES
from perturbsets.loading import load
from perturbsets.models import DualConvNet, Thresholded
from perturbsets.multi_label import MultiLabelTraining, balancing_weights
from perturbsets.recipe import Recipe, assembly, read_recipe
from perturbsets.runs.folder import RunFolder, need
from perturbsets.sets import LatentBall, PerturbationSet
from perturbsets.training import Method, RobustValidation

SPLITS = ("train", "validation", "test")
Sets = dict[str, PerturbationSet]


def source(recipe: Recipe, split: str) -> Source:
    """Clean images of a split."""
    assert recipe.source is not None  # as recipes with a stage that calls this have one
    return cast(Source, recipe.source.make(split=split))


def labelled(recipe: Recipe, split: str) -> MultiLabelSource:
    """Clean images of a split, with states of labels."""
    made = source(recipe, split)
    assert isinstance(made, MultiLabelSource)  # as recipes with an auxiliary classifier have one
    return made


def pair_source(run: RunFolder) -> PairSource:
    """The pairs of a recipe: collected ones, or those made of its source by its change.

    Unseen conditions change every second test image, or group of dependent ones: none is in two splits.
    """
    recipe = run.recipe
    if recipe.pairs.of is not None:
        return cast(PairSource, recipe.pairs.of.make())
    sources = {split: source(recipe, split) for split in SPLITS}
    changes = dict.fromkeys(SPLITS, change(recipe))
    if recipe.unseen is not None:
        halves = partial(Portion, sources["test"], step=2, whole_groups=True)
        sources |= {"test": halves(start=0), "unseen": halves(start=1)}
        changes["unseen"] = recipe.unseen.make()
    draws = {split: getattr(recipe.pairs, split) for split in sources}
    return ChangedPairs(sources, changes, draws=draws, seed=run.seed("pairs"))


def change(recipe: Recipe) -> Change:
    """The change that makes the recipe's pairs."""
    assert recipe.change is not None  # as recipes that make pairs have one
    return cast(Change, recipe.change.make())


def store(run: RunFolder, split: str) -> PairStore:
    """A split of the run's pairs, or of those that the recipe names."""
    named = run.recipe.pairs.path
    return PairStore(need(run.path, "pairs.h5", "pairs") if named is None else named, split=split)


# Networks. First weights depend on the seed alone, so that all methods start one seed from the same ones.


def _seeded(make: Callable[..., Any], seed: int, shape: tuple[int, ...], **given: Any) -> Any:
    channels, height, width = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(channels=channels, height=height, width=width, **given)


def _shape(data: Source) -> tuple[int, ...]:
    return tuple(data.batch([0])[0].shape[1:])


def cvae_model(run: RunFolder, shape: tuple[int, int, int]) -> CVAE:
    """The recipe's CVAE for an image shape, with fresh weights."""
    assert run.recipe.model is not None  # as recipes that fit have one
    return cast(CVAE, _seeded(run.recipe.model.make, run.seed("model"), shape))


def classifier(run: RunFolder, part: Any, data: Source, seed: int) -> Pretrained:
    """A fresh classifier for a method; with a label branch where the method trains an auxiliary one with it."""
    network = run.recipe.classifier
    assert network is not None  # as recipes that train have one
    make, settings = network.make, {"classes": len(data.classes)}
    kind = assembly.auxiliary_kind(part)
    if kind in ("updated", "shared"):
        assert isinstance(data, MultiLabelSource)  # as recipes with dual methods have one
        sizes = {name: getattr(network, name) for name in ("hidden", "widths", "kernel")}
        make, settings = DualConvNet, settings | sizes | {"labels": len(data.label_names), "shared": kind == "shared"}
    return cast(Pretrained, _seeded(make, run.seed("classifier", seed), _shape(data), **settings))


def auxiliary_network(run: RunFolder, data: MultiLabelSource, seed: int) -> Pretrained:
    """A fresh auxiliary classifier: a network with one logit for each label."""
    assert run.recipe.auxiliary is not None  # as recipes with such a stage have one
    part = run.recipe.auxiliary.network or run.recipe.classifier
    assert part is not None  # as those recipes have one or the other
    labels = len(data.label_names)
    return cast(Pretrained, _seeded(part.make, run.seed("auxiliary", seed), _shape(data), classes=labels))


def studied_networks(run: RunFolder, data: Source, device: torch.device) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The network whose representations are attacked, and the run's others by name and seed."""
    recipe = run.recipe
    settings = recipe.representations
    assert settings is not None  # as recipes with such a stage have one
    if settings.network is not None:
        made = _seeded(settings.network.make, run.seed("network"), _shape(data), classes=len(data.classes))
        return made.to(device).eval(), {}
    assert settings.classifier is not None  # as those recipes have one or the other
    trained = classifiers(run, device)
    first = trained[settings.classifier][0]
    return first, {
        f"{name} ({seed})": model
        for name, models in trained.items()
        for seed, model in zip(recipe.seeds, models, strict=True)
        if model is not first
    }


# Trained classifiers, of this run or of the one that the recipe names.


def _origin(recipe: Recipe) -> Recipe:
    """The recipe that trains the classifiers."""
    return recipe if recipe.trained is None else read_recipe(recipe.trained)


def _trained(run: RunFolder, name: str, stage: str) -> Path:
    return need(run.path if run.recipe.trained is None else Path(run.recipe.trained), name, stage)


def methods(recipe: Recipe) -> dict[str, str]:
    """The name of the method that trains each classifier."""
    return {name: part.build for name, part in (_origin(recipe).classifiers or {}).items()}


def classifiers(run: RunFolder, device: torch.device) -> dict[str, list[Pretrained]]:
    """The trained classifiers by name, one per seed."""
    return {
        name: [
            Pretrained.from_pretrained(_trained(run, f"classifiers/{name}/{seed}", "train"), device=device)
            for seed in run.recipe.seeds
        ]
        for name in methods(run.recipe)
    }


def auxiliaries(run: RunFolder, device: torch.device) -> list[nn.Module]:
    """The trained auxiliary classifiers, one per seed; a label is on where its logit is above 0."""
    made: list[nn.Module] = []
    for seed in run.recipe.seeds:
        model = Pretrained.from_pretrained(_trained(run, f"auxiliary/{seed}", "auxiliary"), device=device)
        stored = json.loads(_trained(run, f"auxiliary/{seed}/thresholds.json", "auxiliary").read_text())
        made.append(Thresholded(model, torch.tensor(stored["thresholds"], device=device)).eval())
    return made


def rules(recipe: Recipe) -> BoundRules | None:
    """The rules between the labels and classes of the recipe's source, if its auxiliary classifier has any.

    Raises:
        ValueError: If they do not fit the source.
    """
    section = _origin(recipe).auxiliary
    if section is None or section.rules is None:
        return None
    data = labelled(recipe, "test")
    read = Rules.builtin(section.rules) if section.rules in TABLES else Rules.read(section.rules)
    return read.bind(data.label_names, data.classes)


def learned_set(run: RunFolder, device: torch.device | None = None) -> LatentBall:
    """The learned set: that of the run, or the one that the recipe names."""
    learned = load(need(run.path, "set", "fit") if run.recipe.learned is None else run.recipe.learned)
    learned.model.to(device)
    return learned


def perturbation_sets(run: RunFolder) -> Sets:
    """The recipe's sets by name; learned ones take model, radius and bank from the run."""
    recipe, given, sets = run.recipe, dict[str, Any](), Sets()
    if recipe.change is not None:
        given["change"] = change(recipe)
    if recipe.model is not None or recipe.learned is not None:
        learned = learned_set(run)
        given |= {name: getattr(learned, name) for name in ("model", "radius", "bank", "learned_from")}
    part: Any
    for name, part in recipe.sets.items():
        inside: dict[str, Any] = {"parts": [sets[other] for other in getattr(part, "sets", [])]}
        if hasattr(part, "set"):
            inside["perturbations"] = sets[part.set]
        if recipe.unseen is not None and getattr(part, "of", None) == "unseen":
            inside["change"] = recipe.unseen.make()
        sets[name] = part.make(**{**given, **inside})
    return sets


def method(part: Any, sets: Sets, auxiliary: nn.Module | None, rules: BoundRules | None) -> Method:
    """A training method from its part; a dual one has the auxiliary classifier as it is, or trains its own."""
    kind = assembly.auxiliary_kind(part)
    given: dict[str, Any] = {} if kind is None else {"auxiliary": auxiliary if kind == "frozen" else None}
    if getattr(part, "rules_weight", 0) and rules is not None:
        given["rules"] = rules.inconsistency
    return assembly.method(part, sets, **given)


def auxiliary_method(recipe: Recipe, data: MultiLabelSource, sets: Sets) -> Method:
    """The training method of the auxiliary classifier."""
    section = recipe.auxiliary
    assert section is not None  # as recipes with such a stage have one
    positive = balancing_weights(data.states(range(len(data)))) if section.balanced else None
    adversary = None if section.adversary is None else assembly.adversary(section.adversary, sets)
    return MultiLabelTraining(positive=positive, adversary=adversary)


def validation(run: RunFolder, sets: Sets) -> RobustValidation | None:
    """The robust validation of the classifiers, if the recipe has one, on validation images drawn once."""
    section = run.recipe.validation
    if section is None:
        return None
    data = source(run.recipe, "validation")
    rows = torch.randperm(len(data), generator=run.generator("validation"))[: section.images]
    adversary = assembly.adversary(section, sets)
    return RobustValidation(adversary, *data.batch(rows), drop=section.drop, seed=run.seed("validation"))
