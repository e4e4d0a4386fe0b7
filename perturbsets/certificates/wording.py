"""Numbers in the sentences of certificates: rounded to the side on which the sentence stays true."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

DIGITS = 3
CERTAIN = 1e-6


def at_least(value: float) -> str:
    """A lower bound, rounded down to three digits.

    Example:
        >>> at_least(0.98999)
        '0.989'
    """
    return _rounded(value, ROUND_FLOOR)


def at_most(value: float) -> str:
    """An upper bound, rounded up to three digits.

    Example:
        >>> at_most(0.0123401)
        '0.0124'
    """
    return _rounded(value, ROUND_CEILING)


def confidence(alpha: float) -> str:
    """The confidence 1 − α.

    Example:
        >>> confidence(0.05), confidence(1e-9)
        ('95 %', '1 - 1e-09')
    """
    return f"{100 * (1 - alpha):.10g} %" if alpha >= CERTAIN else f"1 - {alpha:g}"


def within_tolerance(tolerance: float, *, relative: bool, up: bool = False) -> str:
    """A tolerance.

    Args:
        tolerance: The tolerance τ: a mean squared error per pixel of images on [0, 1], or a share of the change.
        relative: Whether it is a share of the pair's own squared change.
        up: Whether to round it up, as one that was solved for.

    Example:
        >>> within_tolerance(0.01, relative=False)
        'within a mean squared error of 0.01 per pixel (root: 25.5 of 255 grey levels)'
    """
    value = 100 * tolerance if relative else tolerance
    told = at_most(value) if up else f"{value:.10g}"
    if relative:
        return f"within {told} % of their own squared change"
    root = at_most(255 * math.sqrt(tolerance))
    return f"within a mean squared error of {told} per pixel (root: {root} of 255 grey levels)"


def _rounded(value: float, side: str) -> str:
    if math.isinf(value):
        return "infinity"
    exact = Decimal(repr(value))  # 0.279 as it is written, not the double next to it, which is above
    return f"{float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - DIGITS + 1), side)) if exact else 0:g}"
