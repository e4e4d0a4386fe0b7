"""From parts of a recipe to adversaries, training methods and schedules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cvae.training import Schedule
from perturbsets.adversaries.adversary import Adversary
from perturbsets.objectives import CrossEntropy, FeatureDistance, KLDivergence, Objective
from perturbsets.recipe.parts import Part, try_constructor
from perturbsets.recipe.registry import resolve
from perturbsets.sets import PerturbationSet, PixelBall
from perturbsets.training import Method

Sets = Mapping[str, PerturbationSet]


def adversary(section: Any, sets: Sets) -> Adversary:
    """An adversary from its section; without an objective it is that of feature adversaries or of TRADES."""
    objective: Objective = KLDivergence()
    if hasattr(section, "objective"):
        objective = section.objective.make()
    elif hasattr(section, "layers"):
        objective = FeatureDistance(section.layers, activation=section.activation)
    return Adversary(sets[section.set], objective, section.ascent.make())


def described(section: Any) -> str:
    """An adversary in words: its set, its objective unless cross-entropy, and its ascent with the settings given."""
    words = [part.described() for part in (section.objective, section.ascent)]
    return f"{section.set}: {', '.join(word for word in words if word != 'CrossEntropy()')}"


def method(part: Any, sets: Sets, **given: Any) -> Method:
    """A training method from its part, with the methods inside it, for sets by name.

    The auxiliary classifier and the rules of dual methods are given besides.
    """
    built: Method = part.make(**_arguments(part, sets, **given))
    return built


def auxiliary_kind(part: Any) -> str | None:
    """How the auxiliary classifier of a dual method is trained; ``None`` of other methods."""
    kind: str | None = getattr(part, "auxiliary_network", None)
    return kind


def _arguments(part: Any, sets: Sets, **given: Any) -> dict[str, Any]:
    """What a method's part says by names of sets and by parts."""
    if auxiliary_kind(part) is not None:  # the attack on the classifier itself is like that on the auxiliary one
        own = getattr(part, "own", None)
        given["auxiliary_adversary"] = adversary(part, sets)
        given["adversary"] = (
            Adversary(sets[part.set], CrossEntropy(), part.ascent.make()) if own is None else adversary(own, sets)
        )
    elif hasattr(part, "ascent"):
        given["adversary"] = adversary(part, sets)
    elif hasattr(part, "set"):
        given["perturbations"] = sets[part.set]
    if hasattr(part, "method"):
        given["method"] = method(part.method, sets, **given)
    return given


def tried_method(part: Any) -> Any:
    """The part itself, if its method accepts its arguments, with stand-ins for sets and rules.

    Raises:
        ValueError: With every reason.
    """
    stand_ins: Sets = defaultdict(lambda: PixelBall("linf", 0.1))
    try_constructor(resolve(part.build), part.arguments(_arguments(part, stand_ins, rules=_no_rules)))
    return part


def _no_rules(classes: Tensor, labels: Tensor) -> Tensor:
    return classes.new_zeros(len(classes))


def schedule(part: Part | None, steps: int) -> Schedule | None:
    """A learning-rate schedule from its part, if any; it lasts for the training unless the recipe says otherwise."""
    if part is None:
        return None

    def made(optimizer: Optimizer) -> LRScheduler:
        built: LRScheduler = part.make(optimizer=optimizer, total_steps=steps, T_max=steps)
        return built

    return made
