"""Which states meet a formula, and which formulas follow from others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import combinations, permutations
from operator import and_, or_
from typing import TypeVar

from torch import Tensor

from perturbsets.knowledge.formula import And, Formula, LabelIs, Or, negated

Flag = TypeVar("Flag", bool, Tensor)


def surely(formula: Formula, known: Callable[[LabelIs], Flag]) -> Flag:
    """Whether a formula holds whatever the unknown states are.

    The unknown ones are weighed label by label: that one of ``a`` and ``not a`` holds is not seen while a is unknown.

    Args:
        formula: The formula; of a negated one the answer is whether it surely fails.
        known: Whether a label is known to be in a state: one flag, or one per image.

    Returns:
        Flags of the same kind.
    """
    match formula:
        case LabelIs():
            return known(formula)
        case And(parts):
            return reduce(and_, (surely(part, known) for part in parts))
        case Or(parts):
            return reduce(or_, (surely(part, known) for part in parts))


def satisfiable(formula: Formula) -> bool:
    """Whether some states of the labels meet a formula.

    Alternatives are tried one after the other, first those that settle most labels. A branch ends as soon as what is
    settled contradicts a demand: rules as people write them take few branches, whatever the number of labels.

    Args:
        formula: The formula.

    Example:
        >>> from perturbsets.knowledge.formula import read_formula
        >>> satisfiable(read_formula("(a or b) and not a and not b"))
        False
    """
    branches: list[tuple[frozenset[LabelIs], list[Formula]]] = [(frozenset(), [formula])]
    while branches:
        came_to = _settled(*branches.pop())
        if came_to is None:
            continue
        held, choices = came_to
        if not choices:
            return True
        choice = max(choices, key=lambda each: (max(map(_labels_settled, each.parts)), -len(each.parts)))
        first, *others = sorted(choice.parts, key=_labels_settled, reverse=True)
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


def _settled(held: frozenset[LabelIs], demands: Sequence[Formula]) -> tuple[frozenset[LabelIs], list[Or]] | None:
    """What demands come to: all states of labels that follow, and the choices that are left.

    Args:
        held: States of labels that are settled.
        demands: Formulas to meet besides.

    Returns:
        The states and the choices, which name no settled label; ``None`` if they contradict.
    """
    while True:
        settled, choices, pending, known = set(held), list[Or](), list(demands), held
        while pending:
            match _given(pending.pop(), settled):
                case False:
                    return None
                case And(parts):
                    pending += parts
                case LabelIs() as label:
                    settled.add(label)
                case Or() as choice:
                    choices.append(choice)
        held = frozenset(settled)
        if held == known:
            return held, choices
        demands = choices


def _given(formula: Formula, held: set[LabelIs]) -> Formula | bool:
    """What is left of a formula once some labels are settled."""
    if isinstance(formula, LabelIs):
        return True if formula in held else False if negated(formula) in held else formula
    decisive = isinstance(formula, Or)  # one part that is met meets an Or, one that fails fails an And
    left: list[Formula] = []
    for part in formula.parts:
        found = _given(part, held)
        if found is decisive:
            return decisive
        if not isinstance(found, bool):
            left.append(found)
    if not left:
        return not decisive
    return left[0] if len(left) == 1 else type(formula)(tuple(left))


def _any_of(parts: list[Formula]) -> Formula:
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _labels_settled(formula: Formula) -> int:
    """How many labels a formula settles at once."""
    match formula:
        case LabelIs():
            return 1
        case And(parts):
            return sum(map(_labels_settled, parts))
        case Or():
            return 0


# How rules stand to one another: which follow from which, who wins where several are met, and which contradict.


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
