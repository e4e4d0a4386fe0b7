"""From parts of a recipe to what is made of several of them."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model, model_validator
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cvae.training import Schedule
from perturbsets.adversaries.adversary import Adversary
from perturbsets.objectives import CrossEntropy, FeatureDistance, KLDivergence, Objective
from perturbsets.recipe.parts import Part, arguments, resolve, try_constructor
from perturbsets.sets import PerturbationSet, PixelBall
from perturbsets.training import Method, StandardTraining

# Sections that are settings of one class, read off its signature.


class Settings(BaseModel):
    """Settings of one class."""

    model_config = ConfigDict(extra="forbid")

    def make(self, **given: Any) -> Any:
        """Builds the object; ``given`` overrides."""
        return self.constructor()(**{**dict(self), **given})

    @classmethod
    def constructor(cls) -> Callable[..., Any]:
        """What is built."""
        raise TypeError("a section is made by `section(constructor)`")


@cache
def section(constructor: Callable[..., Any]) -> type[Settings]:
    """The pydantic model of a class's constructor, without its ``seed``, which comes from the recipe.

    Args:
        constructor: The class.

    Returns:
        A model whose ``make`` builds the object, and which refuses what the constructor refuses.
    """
    fields: dict[str, Any] = {name: field for name, field in arguments(constructor).items() if name != "seed"}

    def tried(self: Settings) -> Settings:
        try_constructor(constructor, dict(self))
        return self

    name = getattr(constructor, "__name__", "Section")
    made: type[Settings] = create_model(
        name,
        __base__=Settings,
        __doc__=(inspect.getdoc(constructor) or name).split("\n")[0],
        __validators__={"tried": model_validator(mode="after")(tried)},  # type: ignore[dict-item]
        **fields,
    )
    made.constructor = classmethod(lambda cls: constructor)  # type: ignore[method-assign, assignment]
    return made


def adversary(section: Any, perturbations: PerturbationSet) -> Adversary:
    """An adversary from its section."""
    return Adversary(perturbations, _objective(section), section.ascent.make())


def _objective(section: Any) -> Objective:
    """The objective of an adversary's section; where it has none, it is that of features or of TRADES."""
    if hasattr(section, "objective"):
        made: Objective = section.objective.make()
        return made
    return FeatureDistance(section.layers, section.activation) if hasattr(section, "layers") else KLDivergence()


def method(part: Any, sets: dict[str, PerturbationSet], **given: Any) -> Method:
    """A training method from its part, with the methods inside it.

    Args:
        part: The part.
        sets: The recipe's sets by name.
        given: The auxiliary classifier and the rules of dual methods.
    """
    if hasattr(part, "auxiliary_network"):
        given |= _dual(part, sets)
    elif hasattr(part, "ascent"):
        given["adversary"] = adversary(part, sets[part.set])
    elif hasattr(part, "set"):
        given["perturbations"] = sets[part.set]
    if hasattr(part, "method"):
        given["method"] = method(part.method, sets, **given)
    built: Method = part.make(**given)
    return built


def _dual(part: Any, sets: Mapping[str, PerturbationSet]) -> dict[str, Adversary]:
    """The two adversaries of a dual method; without a section of its own the classifier's is like the auxiliary's."""
    perturbations, own = sets[part.set], getattr(part, "own", None)
    return {
        "auxiliary_adversary": adversary(part, perturbations),
        "adversary": Adversary(perturbations, CrossEntropy(), part.ascent.make())
        if own is None
        else adversary(own, sets[own.set]),
    }


def schedule(part: Part, steps: int) -> Schedule:
    """A learning-rate schedule from its part; it lasts for the training unless the recipe says otherwise."""

    def made(optimizer: Optimizer) -> LRScheduler:
        built: LRScheduler = part.make(optimizer=optimizer, total_steps=steps, T_max=steps)
        return built

    return made


def _no_rules(classes: Tensor, labels: Tensor) -> Tensor:
    """What stands in for rules that are not known yet."""
    return classes.new_zeros(len(classes))


def tried_method(part: Any) -> Any:
    """The part itself, if its method takes its arguments on a set that stands in for the real one.

    Raises:
        ValueError: With every reason.
    """
    stand_in = PixelBall("linf", 0.1)
    given: dict[str, Any] = {"perturbations": stand_in, "method": StandardTraining()}
    if hasattr(part, "auxiliary_network"):
        given |= {"rules": _no_rules, **_dual(part, defaultdict(lambda: stand_in))}
    elif hasattr(part, "ascent"):
        given["adversary"] = adversary(part, stand_in)
    try_constructor(resolve(part.build), part.arguments(given))
    return part
