"""From the parts of a recipe to objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from augment import Change, ChangedPairs, MultiLabelSource, PairSource, PairStore, Portion, Source
from cvae import CVAE, Pretrained, derive_seed
from cvae.training import Schedule
from perturbsets.adversaries.adversary import Adversary
from perturbsets.knowledge import BoundRules, Rules
from perturbsets.knowledge.rules import TABLES
from perturbsets.loading import load
from perturbsets.models import DualConvNet, Thresholded
from perturbsets.multi_label import MultiLabelTraining, balancing_weights
from perturbsets.recipe import Recipe, assembly, read_recipe
from perturbsets.runs.folder import RunFolder, need
from perturbsets.sets import PerturbationSet
from perturbsets.training import Method, RobustValidation

SPLITS = ("train", "validation", "test")


def cvae_model(recipe: Recipe, shape: tuple[int, int, int]) -> CVAE:
    """The recipe's CVAE for an image shape, with first weights that depend on the seed alone."""
    assert recipe.model is not None  # a recipe that fits has one
    return _seeded(recipe.model.make, derive_seed(recipe.seed, "model"), shape)


def classifier(recipe: Recipe, shape: tuple[int, int, int], classes: int, seed: int) -> Pretrained:
    """A fresh classifier; all methods start one seed from the same weights."""
    assert recipe.classifier is not None  # a recipe that trains has one
    return _seeded(recipe.classifier.make, derive_seed(recipe.seed, "classifier", seed), shape, classes=classes)


def classifier_for(recipe: Recipe, part: Any, data: Source, seed: int) -> Pretrained:
    """A fresh classifier for a method; where that trains an auxiliary classifier along, one with a label branch."""
    channels, height, width = data.batch([0])[0].shape[1:]
    kind = getattr(part, "auxiliary_network", "frozen")
    if kind == "frozen":
        return classifier(recipe, (channels, height, width), len(data.classes), seed)
    assert isinstance(data, MultiLabelSource)  # a recipe with dual methods has such a source
    sizes = {name: getattr(recipe.classifier, name) for name in ("hidden", "widths", "kernel")}
    seed = derive_seed(recipe.seed, "classifier", seed)
    counts = {"classes": len(data.classes), "labels": len(data.label_names)}
    made: Pretrained = _seeded(DualConvNet, seed, (channels, height, width), shared=kind == "shared", **counts, **sizes)
    return made


def auxiliary_network(recipe: Recipe, shape: tuple[int, int, int], labels: int, seed: int) -> Pretrained:
    """A fresh multi-label classifier: a network of one logit for each label."""
    assert recipe.auxiliary is not None  # or the recipe has no such stage
    part = recipe.auxiliary.network or recipe.classifier
    assert part is not None  # it has the one or the other
    return _seeded(part.make, derive_seed(recipe.seed, "auxiliary", seed), shape, classes=labels)


def network(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network that the recipe looks at without training it; where its weights are random, they follow the seed."""
    assert recipe.representations is not None
    part = recipe.representations.network
    assert part is not None  # what it looks at
    made: nn.Module = _seeded(part.make, derive_seed(recipe.seed, "network"), shape, classes=classes)
    return made


def _seeded(make: Callable[..., Any], seed: int, shape: tuple[int, int, int], **given: Any) -> Any:
    channels, height, width = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(channels=channels, height=height, width=width, **given)


def source(recipe: Recipe, split: str) -> Source:
    """Clean images of a split."""
    assert recipe.source is not None  # a recipe that makes pairs of them, or trains or judges classifiers, has one
    made: Source = recipe.source.make(split=split)
    return made


def labelled(recipe: Recipe, split: str) -> MultiLabelSource:
    """Clean images of a split, whose labels have states."""
    made = source(recipe, split)
    assert isinstance(made, MultiLabelSource)  # a recipe with an auxiliary classifier has such a source
    return made


def pair_source(recipe: Recipe) -> PairSource:
    """The pairs of a recipe: collected ones, or those made of its source by its change.

    Unseen conditions change every second test image, or group of them that belong together: none is in two splits.
    """
    if recipe.pairs.of is not None:
        collected: PairSource = recipe.pairs.of.make()
        return collected
    sources = {split: source(recipe, split) for split in SPLITS}
    changes = dict.fromkeys(SPLITS, change(recipe))
    if recipe.unseen is not None:
        whole = sources["test"]
        sources |= {
            split: Portion(whole, start, step=2, whole_groups=True) for start, split in enumerate(("test", "unseen"))
        }
        changes["unseen"] = recipe.unseen.make()
    draws = {split: getattr(recipe.pairs, split) for split in sources}
    return ChangedPairs(sources, changes, draws=draws, seed=derive_seed(recipe.seed, "pairs"))


def change(recipe: Recipe) -> Change:
    """The change that makes the recipe's pairs."""
    assert recipe.change is not None  # a recipe that makes pairs has one
    made: Change = recipe.change.make()
    return made


def perturbation_sets(recipe: Recipe, run: RunFolder) -> dict[str, PerturbationSet]:
    """The recipe's sets by name; learned ones take model, radius and bank from the run."""
    given: dict[str, Any] = {}
    if recipe.change is not None:
        given["change"] = change(recipe)
    if recipe.model is not None or recipe.learned is not None:
        learned = load(run.need("set", "fit") if recipe.learned is None else recipe.learned)
        given |= {name: getattr(learned, name) for name in ("model", "radius", "bank", "learned_from")}
    sets: dict[str, PerturbationSet] = {}
    for name, part in recipe.sets.items():
        parts = [sets[other] for other in getattr(part, "sets", [])]
        drawn = {"change": recipe.unseen.make()} if recipe.unseen and getattr(part, "of", None) == "unseen" else {}
        sets[name] = part.make(**{**given, **drawn}, parts=parts)  # type: ignore[attr-defined]
    return sets


def adversary(section: Any, sets: dict[str, PerturbationSet]) -> Adversary:
    """An adversary from its section."""
    return assembly.adversary(section, sets[section.set])


def method(
    part: Any, sets: dict[str, PerturbationSet], auxiliary: nn.Module | None, rules: BoundRules | None
) -> Method:
    """A training method from its part; a dual one has the auxiliary classifier as it is, or trains its own."""
    kind = getattr(part, "auxiliary_network", None)
    given: dict[str, Any] = {} if kind is None else {"auxiliary": auxiliary if kind == "frozen" else None}
    if getattr(part, "rules_weight", 0) and rules is not None:
        given["rules"] = rules.inconsistency
    return assembly.method(part, sets, **given)


def helper_method(recipe: Recipe, data: MultiLabelSource, sets: dict[str, PerturbationSet]) -> Method:
    """How the auxiliary classifier is trained."""
    assert recipe.auxiliary is not None  # or the recipe has no such stage
    section = recipe.auxiliary
    positive = balancing_weights(data.states(list(range(len(data))))) if section.balanced else None
    attacks = None if section.adversary is None else adversary(section.adversary, sets)
    return MultiLabelTraining(positive=positive, adversary=attacks)


def rules(recipe: Recipe) -> BoundRules | None:
    """The rules between the labels and classes of the recipe's source, if its auxiliary classifier has any.

    Raises:
        ValueError: If they do not fit the source.
    """
    origin = recipe if recipe.trained is None else read_recipe(recipe.trained)
    if origin.auxiliary is None or origin.auxiliary.rules is None:
        return None
    named, data = origin.auxiliary.rules, labelled(recipe, "test")
    read = Rules.builtin(named) if named in TABLES else Rules.read(named)
    return read.bind(data.label_names, data.classes)


def schedule(recipe: Recipe) -> Schedule | None:
    """The learning-rate schedule of the classifiers, if the recipe has one."""
    return None if recipe.schedule is None else assembly.schedule(recipe.schedule, recipe.train.steps)


def validation(recipe: Recipe, sets: dict[str, PerturbationSet]) -> RobustValidation | None:
    """The robust validation of the classifiers, if the recipe has one, on validation images drawn once."""
    section = recipe.validation
    if section is None:
        return None
    data, seed = source(recipe, "validation"), derive_seed(recipe.seed, "validation")
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: section.images]
    images, labels = data.batch(rows)
    return RobustValidation(adversary(section, sets), images, labels, section.drop, seed=seed)


def store(recipe: Recipe, run: RunFolder, split: str) -> PairStore:
    """A split of the run's pairs, or of those that the recipe names."""
    return PairStore(run.need("pairs.h5", "pairs") if recipe.pairs.path is None else recipe.pairs.path, split=split)


def methods(recipe: Recipe) -> dict[str, str]:
    """How each classifier was trained, here or in the run that the recipe names: name to the method's name."""
    origin = recipe if recipe.trained is None else read_recipe(recipe.trained)
    return {name: part.build for name, part in (origin.classifiers or {}).items()}


def classifiers(recipe: Recipe, run: RunFolder, device: torch.device) -> dict[str, list[Pretrained]]:
    """The trained classifiers by name, one per seed.

    Raises:
        FileNotFoundError: If one is not there; the message says which command makes it.
    """
    folder = run.path if recipe.trained is None else Path(recipe.trained)
    return {
        name: [
            Pretrained.from_pretrained(need(folder, f"classifiers/{name}/{seed}", "train"), device=device)
            for seed in recipe.seeds
        ]
        for name in methods(recipe)
    }


def helpers(recipe: Recipe, run: RunFolder, device: torch.device) -> list[nn.Module]:
    """The multi-label classifiers, one per seed; a label is on where its logit is above 0.

    Raises:
        FileNotFoundError: If one is not there; the message says which command makes it.
    """
    folder = run.path if recipe.trained is None else Path(recipe.trained)
    made: list[nn.Module] = []
    for seed in recipe.seeds:
        model = Pretrained.from_pretrained(need(folder, f"auxiliary/{seed}", "auxiliary"), device=device)
        said = json.loads(need(folder, f"auxiliary/{seed}/thresholds.json", "auxiliary").read_text())
        made.append(Thresholded(model, torch.tensor(said["thresholds"], device=device)).eval())
    return made
