r"""How true a formula is of probabilities: the product t-norm, in logarithms.

With a and b the truths of two formulas,

.. math:: a \wedge b = a\,b, \qquad a \vee b = 1 - (1 - a)(1 - b), \qquad \neg a = 1 - a.

That is the probability of the formula where labels are independent and each is named once. A label named twice is
counted twice: the truth of "a and a" is a².
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from perturbsets._types import PerImage
from perturbsets.knowledge.formula import And, Formula, LabelIs, negated


def log_truth(formula: Formula, log_probability: Callable[[LabelIs], PerImage]) -> PerImage:
    r"""Logarithm of the truth of a formula.

    The truth of an OR is summed from parts that are all positive, so that nothing cancels where truths are near 0 or 1,

    .. math:: \textstyle \ln \bigvee_i a_i = \ln \sum_i a_i \prod_{j < i} (1 - a_j)

    and of every part the truth of its negation is taken as such, not as 1 minus anything.

    Args:
        formula: The formula.
        log_probability: Logarithm of the probability that a label is in a state, one per image.

    Returns:
        One logarithm, 0 at most, per image.

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
