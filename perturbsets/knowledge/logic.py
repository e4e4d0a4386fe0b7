"""Which states meet formulas, which formulas imply others, and contradictions among rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import combinations, permutations
from operator import and_, or_
from typing import TypeVar

from torch import Tensor

from perturbsets.knowledge.formula import And, Formula, LabelIs, Or, negated

Flag = TypeVar("Flag", bool, Tensor)


def holds(formula: Formula, known: Callable[[LabelIs], Flag]) -> Flag:
    """Whether a formula holds whatever the unknown states are; of its negation, whether it fails.

    Labels are judged one by one: that ``a or not a`` holds is not recognised while a is unknown. One flag, or one per
    image, says whether a label is known to be in a state.
    """
    if isinstance(formula, LabelIs):
        return known(formula)
    return reduce(and_ if isinstance(formula, And) else or_, (holds(part, known) for part in formula.parts))


def satisfiable(formula: Formula) -> bool:
    """Whether some states of the labels meet a formula.

    Alternatives are tried one after the other, first those that fix most labels; a branch ends at the first
    contradiction. Rules as people write them take few branches, whatever the number of labels.

    Example:
        >>> from perturbsets.knowledge.formula import read_formula
        >>> satisfiable(read_formula("(a or b) and not a and not b"))
        False
    """
    branches: list[tuple[frozenset[LabelIs], list[Formula]]] = [(frozenset(), [formula])]
    while branches:
        simplified = _propagate(*branches.pop())
        if simplified is None:
            continue
        held, choices = simplified
        if not choices:
            return True
        choice = max(choices, key=lambda each: (max(map(_labels_fixed, each.parts)), -len(each.parts)))
        first, *others = sorted(choice.parts, key=_labels_fixed, reverse=True)
        rest: list[Formula] = [each for each in choices if each is not choice]
        branches += [(held, [*rest, negated(first), _any_of(others)]), (held, [*rest, first])]
    return False


def implies(first: Formula, second: Formula) -> bool:
    """Whether all states that meet the first formula meet the second.

    Example:
        >>> from perturbsets.knowledge.formula import read_formula
        >>> implies(read_formula("a and b"), read_formula("b or c"))
        True
    """
    return not satisfiable(And((first, negated(second))))


def _propagate(held: frozenset[LabelIs], demands: Sequence[Formula]) -> tuple[frozenset[LabelIs], list[Or]] | None:
    """Unit propagation: all states that follow and the choices left, of no fixed label; ``None`` if they contradict."""
    while True:
        fixed, choices, pending, known = set(held), list[Or](), list(demands), held
        while pending:
            match _simplified(pending.pop(), fixed):
                case False:
                    return None
                case And(parts):
                    pending += parts
                case LabelIs() as label:
                    fixed.add(label)
                case Or() as choice:
                    choices.append(choice)
        held = frozenset(fixed)
        if held == known:
            return held, choices
        demands = choices


def _simplified(formula: Formula, held: set[LabelIs]) -> Formula | bool:
    """What is left of a formula once some labels are fixed."""
    if isinstance(formula, LabelIs):
        return True if formula in held else False if negated(formula) in held else formula
    decisive = isinstance(formula, Or)  # one part that is met meets an Or, one that fails fails an And
    left: list[Formula] = []
    for part in formula.parts:
        simplified = _simplified(part, held)
        if simplified is decisive:
            return decisive
        if not isinstance(simplified, bool):
            left.append(simplified)
    if not left:
        return not decisive
    return left[0] if len(left) == 1 else type(formula)(tuple(left))


def _any_of(parts: list[Formula]) -> Formula:
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _labels_fixed(formula: Formula) -> int:
    """How many labels a formula fixes at once."""
    if isinstance(formula, And):
        return sum(map(_labels_fixed, formula.parts))
    return int(isinstance(formula, LabelIs))


Pairs = tuple[tuple[str, str], ...]
"""Pairs (specific, general) of classes."""


def implications(rules: Mapping[str, Formula]) -> Pairs:
    """All pairs (specific, general) of classes of which the first one's rule implies the second one's."""
    return tuple(
        (specific, general) for specific, general in permutations(rules, 2) if implies(rules[specific], rules[general])
    )


def winning_rules(rules: Mapping[str, Formula], pairs: Pairs) -> dict[str, Formula]:
    """When each class wins, given implications: its rule is met and that of no more specific class is."""
    rivals: dict[str, list[Formula]] = {name: [] for name in rules}
    for specific, general in pairs:
        rivals[general].append(negated(rules[specific]))
    return {name: And((rule, *rivals[name])) if rivals[name] else rule for name, rule in rules.items()}


def contradictions(rules: Mapping[str, Formula]) -> list[str]:
    """A sentence about each fault of rules: unsatisfiable ones, equivalent ones, and those that can never win.

    Rules that overlap, both met by some states, are no contradiction.
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
        for name, rule in winning_rules(rules, pairs).items()
        if not satisfiable(rule)
    ]
