"""How rules stand to one another: which follow from which, who wins where several are met, and which contradict."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations

from perturbsets.knowledge.formula import And, Formula, negated
from perturbsets.knowledge.logic import implies, satisfiable

Pairs = tuple[tuple[str, str], ...]
"""Classes, each more specific than the one beside it."""


def implications(rules: Mapping[str, Formula]) -> Pairs:
    """All pairs of classes of which the first one's rule implies the second one's: the first is the more specific.

    Args:
        rules: Class to formula.
    """
    return tuple(
        (specific, general) for specific, general in permutations(rules, 2) if implies(rules[specific], rules[general])
    )


def outright(rules: Mapping[str, Formula], pairs: Pairs) -> dict[str, Formula]:
    """What makes each class win: its rule is met and that of no more specific class is.

    Args:
        rules: Class to formula.
        pairs: Their :func:`implications`.
    """
    rivals: dict[str, list[Formula]] = {name: [] for name in rules}
    for specific, general in pairs:
        rivals[general].append(negated(rules[specific]))
    return {name: And((rule, *rivals[name])) if rivals[name] else rule for name, rule in rules.items()}


def contradictions(rules: Mapping[str, Formula]) -> list[str]:
    """What is wrong with rules: those nobody can meet, those that say the same, and those that can never win.

    Rules that overlap, both met by some states, are no contradiction.

    Args:
        rules: Class to formula.

    Returns:
        A sentence about each fault.
    """
    impossible = [name for name, rule in rules.items() if not satisfiable(rule)]
    if impossible:  # from which everything follows
        return [f"class {name}: no states meet {rules[name]}" for name in impossible]
    pairs = implications(rules)
    same = [pair for pair in combinations(rules, 2) if pair in pairs and pair[::-1] in pairs]
    if same:
        return [f"classes {first} and {second}: their rules are met by the same states" for first, second in same]
    return [
        f"class {name}: whatever meets its rule also meets that of a more specific one, of "
        + ", ".join(specific for specific, general in pairs if general == name)
        for name, rule in outright(rules, pairs).items()
        if not satisfiable(rule)
    ]
