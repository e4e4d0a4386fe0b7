"""From the parts of a recipe to objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from augment import Change, ChangedPairs, PairSource, PairStore, Portion, Source
from cvae import CVAE, Pretrained, derive_seed
from cvae.schedule import Schedule
from perturbsets.adversary import Adversary
from perturbsets.loading import load
from perturbsets.recipe import Recipe, assembly, read_recipe
from perturbsets.runs.folder import RunFolder, need
from perturbsets.sets import PerturbationSet
from perturbsets.training import Method, RobustValidation

SPLITS = ("train", "validation", "test")


def cvae_model(recipe: Recipe, shape: tuple[int, int, int]) -> CVAE:
    """The recipe's CVAE for an image shape, with first weights that depend on the seed alone."""
    return _seeded(recipe.model, derive_seed(recipe.seed, "model"), shape)


def classifier(recipe: Recipe, shape: tuple[int, int, int], classes: int, seed: int) -> Pretrained:
    """A fresh classifier; all methods start one seed from the same weights."""
    return _seeded(recipe.classifier, derive_seed(recipe.seed, "classifier", seed), shape, classes=classes)


def network(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network that the recipe looks at without training it; where its weights are random, they follow the seed."""
    assert recipe.representations is not None
    made: nn.Module = _seeded(
        recipe.representations.network, derive_seed(recipe.seed, "network"), shape, classes=classes
    )
    return made


def _seeded(part: Any, seed: int, shape: tuple[int, int, int], **given: Any) -> Any:
    channels, height, width = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return part.make(channels=channels, height=height, width=width, **given)


def source(recipe: Recipe, split: str) -> Source:
    """Clean images of a split."""
    assert recipe.source is not None  # a recipe that makes pairs of them, or trains or judges classifiers, has one
    made: Source = recipe.source.make(split=split)
    return made


def pair_source(recipe: Recipe) -> PairSource:
    """The pairs of a recipe: collected ones, or those made of its source by its change.

    Unseen conditions change every second test image: no image is in two splits.
    """
    if recipe.pairs.of is not None:
        collected: PairSource = recipe.pairs.of.make()
        return collected
    sources = {split: source(recipe, split) for split in SPLITS}
    changes = dict.fromkeys(SPLITS, change(recipe))
    if recipe.unseen is not None:
        whole = sources["test"]
        sources |= {"test": Portion(whole, 0, step=2), "unseen": Portion(whole, 1, step=2)}
        changes["unseen"] = recipe.unseen.make()
    draws = {split: getattr(recipe.pairs, split) for split in sources}
    return ChangedPairs(sources, changes, draws, derive_seed(recipe.seed, "pairs"))


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


def method(part: Any, sets: dict[str, PerturbationSet]) -> Method:
    """A training method from its part."""
    return assembly.method(part, sets)


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
