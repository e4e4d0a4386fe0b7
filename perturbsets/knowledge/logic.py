"""Which states meet a formula, and which formulas follow from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
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
