"""Formulas over the states of labels, read from text such as "AU1 and AU2 and not AU4"."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from perturbsets._types import PerImage

EXPECTED = "a formula must be names of labels joined by and, or, not and brackets"


@dataclass(frozen=True)
class LabelIs:
    """One label in one state, on or off."""

    label: str
    on: bool = True

    def __str__(self) -> str:
        return self.label if self.on else f"not {self.label}"


@dataclass(frozen=True)
class And:
    """All of two or more formulas."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " and ".join(_inside(part) for part in self.parts)


@dataclass(frozen=True)
class Or:
    """At least one of two or more formulas."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " or ".join(_inside(part) for part in self.parts)


Formula = LabelIs | And | Or
"""A formula in which only labels are negated: every other NOT is moved inwards by De Morgan's laws."""


def read_formula(text: str) -> Formula:
    """Reads a formula.

    Args:
        text: Names of labels joined by ``and``, ``or`` and ``not``, with brackets; ``not`` binds closest, then ``and``.

    Raises:
        ValueError: If the text is no such formula.

    Example:
        >>> print(read_formula("(AU1 and AU2) or not (AU5 and AU7)"))
        (AU1 and AU2) or (not AU5 or not AU7)
    """
    try:
        return _read(ast.parse(" ".join(text.split()), mode="eval").body, negated=False)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{EXPECTED}, got {text!r}") from error


def _read(node: ast.expr, *, negated: bool) -> Formula:
    match node:
        case ast.Name(id=label):
            return LabelIs(label, not negated)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return _read(part, negated=not negated)
        case ast.BoolOp(op=operator, values=parts):
            kind = And if isinstance(operator, ast.And) is not negated else Or
            return kind(tuple(_read(part, negated=negated) for part in parts))
        case _:
            raise ValueError(f"{EXPECTED}, got {ast.unparse(node)!r}")


def negated(formula: Formula) -> Formula:
    """The negation of a formula.

    Example:
        >>> print(negated(read_formula("AU1 and not AU4")))
        not AU1 or AU4
    """
    if isinstance(formula, LabelIs):
        return LabelIs(formula.label, not formula.on)
    kind = Or if isinstance(formula, And) else And
    return kind(tuple(negated(part) for part in formula.parts))


def labels_of(formula: Formula) -> tuple[str, ...]:
    """The labels that a formula names, each once, in order of appearance."""
    if isinstance(formula, LabelIs):
        return (formula.label,)
    return tuple(dict.fromkeys(label for part in formula.parts for label in labels_of(part)))


def renamed(formula: Formula, names: Mapping[str, str]) -> Formula:
    """A formula with some labels renamed, given old name to new name."""
    if isinstance(formula, LabelIs):
        return LabelIs(names.get(formula.label, formula.label), formula.on)
    return type(formula)(tuple(renamed(part, names) for part in formula.parts))


def _inside(part: Formula) -> str:
    return str(part) if isinstance(part, LabelIs) else f"({part})"


def log_truth(formula: Formula, log_probability: Callable[[LabelIs], PerImage]) -> PerImage:
    r"""Logarithm of the truth of a formula under the product t-norm.

    .. math:: a \wedge b = a\,b, \qquad a \vee b = 1 - (1 - a)(1 - b), \qquad \neg a = 1 - a

    That is the probability of the formula where labels are independent and each is named once; the truth of "a and a"
    is a². An OR is summed from positive terms, so that nothing cancels where truths are near 0 or 1,

    .. math:: \textstyle \ln \bigvee_i a_i = \ln \sum_i a_i \prod_{j < i} (1 - a_j)

    and the truth of a part's negation is computed from its formula, not as 1 minus the part's.

    Args:
        formula: The formula.
        log_probability: Logarithm of the probability that a label is in a state, one per image.

    References:
        Klement, Mesiar and Pap, *Triangular norms*, 2000 (the product t-norm and its dual).
    """
    if isinstance(formula, LabelIs):
        return log_probability(formula)
    truths = torch.stack([log_truth(part, log_probability) for part in formula.parts])
    if isinstance(formula, And):
        return truths.sum(0)
    untrue = [log_truth(negated(part), log_probability) for part in formula.parts[:-1]]
    before = torch.stack([torch.zeros_like(truths[0]), *untrue]).cumsum(0)
    return (truths + before).logsumexp(0)
