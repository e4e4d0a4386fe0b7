"""From the parts of a recipe to objects."""

from __future__ import annotations

from typing import Any

import torch

from augment import PairStore
from cvae import CVAE, Pretrained, derive_seed
from perturbsets.adversary import Adversary
from perturbsets.recipe import Recipe
from perturbsets.runs.folder import RunFolder
from perturbsets.sets import LatentBall, PerturbationSet
from perturbsets.training import Method


def cvae_model(recipe: Recipe, shape: tuple[int, int, int]) -> CVAE:
    """The recipe's CVAE for an image shape, with first weights that depend on the seed alone."""
    return _seeded(recipe.model, derive_seed(recipe.seed, "model"), shape)


def classifier(recipe: Recipe, shape: tuple[int, int, int], classes: int, seed: int) -> Pretrained:
    """A fresh classifier; all methods start one seed from the same weights."""
    return _seeded(recipe.classifier, derive_seed(recipe.seed, "classifier", seed), shape, classes=classes)


def _seeded(part: Any, seed: int, shape: tuple[int, int, int], **given: Any) -> Any:
    channels, height, width = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return part.make(channels=channels, height=height, width=width, **given)


def perturbation_sets(recipe: Recipe, run: RunFolder) -> dict[str, PerturbationSet]:
    """The recipe's sets by name; learned ones take model, radius and bank from the run."""
    learned = LatentBall.load(run.need("set", "fit"))
    given = {
        "model": learned.model,
        "radius": learned.radius,
        "bank": learned.bank,
        "change": recipe.change.make(),
    }
    return {name: part.make(**given) for name, part in recipe.sets.items()}  # type: ignore[attr-defined]


def adversary(section: Any, sets: dict[str, PerturbationSet]) -> Adversary:
    """An adversary from its section."""
    return Adversary(sets[section.set], section.objective.make(), section.ascent.make())


def method(part: Any, sets: dict[str, PerturbationSet]) -> Method:
    """A training method from its part."""
    given: dict[str, Any] = {}
    if hasattr(part, "ascent"):
        given["adversary"] = adversary(part, sets)
    elif hasattr(part, "set"):
        given["perturbations"] = sets[part.set]
    built: Method = part.make(**given)
    return built


def store(run: RunFolder, split: str) -> PairStore:
    """A split of the run's pairs."""
    return PairStore(run.need("pairs.h5", "pairs"), split=split)
