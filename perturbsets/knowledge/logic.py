"""Which states meet a formula, and which formulas follow from others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_, or_
from typing import TypeVar

from torch import Tensor

from perturbsets.knowledge.formula import And, Formula, LabelIs, Or, labels_of, negated

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


def ways(formula: Formula, held: frozenset[LabelIs] = frozenset()) -> Iterator[frozenset[LabelIs]]:
    """All ways to meet a formula.

    Labels are tried one after the other, and a branch ends as soon as those tried decide: rules as people write them
    take few branches, whatever the number of labels.

    Args:
        formula: The formula.
        held: States of labels that are settled.

    Yields:
        States of some labels that meet it whatever the others are; each pattern of all labels goes with one at most.
    """
    fails, labels = negated(formula), labels_of(formula)
    branches = [held]
    while branches:
        held = branches.pop()
        if surely(formula, held.__contains__):
            yield held
        elif not surely(fails, held.__contains__):
            label = next(each for each in labels if not held & {LabelIs(each), LabelIs(each, False)})
            branches += [held | {LabelIs(label, on)} for on in (False, True)]


def satisfiable(formula: Formula) -> bool:
    """Whether some states of the labels meet a formula.

    Example:
        >>> from perturbsets.knowledge.formula import read_formula
        >>> satisfiable(read_formula("(a or b) and not a and not b"))
        False
    """
    return next(ways(formula), None) is not None


def implies(first: Formula, second: Formula) -> bool:
    """Whether all states that meet the first formula meet the second.

    Example:
        >>> from perturbsets.knowledge.formula import read_formula
        >>> implies(read_formula("a and b"), read_formula("b or c"))
        True
    """
    fails = negated(second)
    return all(next(ways(fails, way), None) is None for way in ways(first))
