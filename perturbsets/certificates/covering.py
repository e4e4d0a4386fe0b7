r"""Tolerance limits: a limit, the share of future numbers within it, and the chance of error.

Numbers :math:`e_1, \dots, e_n` are drawn independently, as future ones will be, and k of them are at most τ. With
:math:`I_p` the chance of so many where the true share is p (:func:`~perturbsets.share_bounds.chance_of_at_least`), any
two of the limit τ, the share p and the chance of error α give the third:

- τ and α give :math:`p = \max \{p : I_p(k, n - k + 1) \le \alpha\}`, the Clopper-Pearson bound;
- p and α give :math:`\tau = e_{(k)}` for the least k with :math:`I_p(k, n - k + 1) \le \alpha`, an order statistic: its
  share is distributed as Beta(k, n − k + 1), or above that where numbers can be equal, whatever their distribution;
- τ and p give :math:`\alpha = I_p(k, n - k + 1)`, a p-value: where the true share is below p, it is at most a with a
  chance of at most a.

The two that are given must be chosen before the numbers are seen. Each statement has its own chance of error: for m
statements to hold together, each takes α/m.

References:
    Wilks, *Determination of sample sizes for setting tolerance limits*, 1941;
    Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal

import torch
from torch import Tensor

from perturbsets._types import Labels, PerImage, Rows
from perturbsets.criteria.pairs import Pairs, sources_of
from perturbsets.printing import Printed
from perturbsets.share_bounds import chance_of_at_least, check_chance, share_at_least

DIGITS = 3  # of rounded bounds in sentences
CERTAIN = 1e-6  # alpha below which a confidence is written as 1 - alpha


def at_least(value: float) -> str:
    """A lower bound, rounded down to three digits."""
    return _rounded(value, ROUND_FLOOR)


def at_most(value: float) -> str:
    """An upper bound, rounded up to three digits."""
    return _rounded(value, ROUND_CEILING)


def confidence(alpha: float) -> str:
    """The confidence 1 − α: '95 %', or '1 - 1e-09'."""
    return f"{100 * (1 - alpha):.10g} %" if alpha >= CERTAIN else f"1 - {alpha:g}"


def within_tolerance(tolerance: float, *, relative: bool, up: bool = False) -> str:
    """A tolerance in words, perhaps rounded up.

    Example:
        >>> within_tolerance(0.01, relative=False)
        'within a mean squared error of 0.01 per pixel (root: 25.5 of 255 grey levels)'
    """
    value = 100 * tolerance if relative else tolerance
    number = at_most(value) if up else f"{value:.10g}"
    if relative:
        return f"within {number} % of their own squared change"
    root = at_most(255 * math.sqrt(tolerance))
    return f"within a mean squared error of {number} per pixel (root: {root} of 255 grey levels)"


def _rounded(value: float, side: str) -> str:
    if math.isinf(value):
        return "infinity"
    exact = Decimal(repr(value))  # 0.279 as it is written, not the double next to it, which is above
    return f"{float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - DIGITS + 1), side)) if exact else 0:g}"


class SelectedPairs:
    """Selected pairs, in the order of the selection."""

    def __init__(self, pairs: Pairs, rows: Rows) -> None:
        self._pairs, self._rows = pairs, rows

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._rows)

    def batch(self, indices: Any) -> tuple[Tensor, Tensor, Labels, Labels]:
        """Clean and changed images, source numbers and labels."""
        return self._pairs.batch(self._rows[torch.as_tensor(indices)])


def one_per_source(sources: Tensor, *, generator: torch.Generator | None = None) -> Rows:
    """Positions of one pair of every source, each pair of a source as likely as the others.

    They are on the CPU, in the order of the sources' numbers. The global generator draws if none is given.

    Example:
        >>> one_per_source(torch.tensor([7, 7, 3])).tolist() in ([2, 0], [2, 1])
        True
    """
    count = len(sources)
    order = torch.randperm(count, generator=generator, device=None if generator is None else generator.device).cpu()
    distinct, place = sources.cpu()[order].unique(return_inverse=True)
    first = torch.full((len(distinct),), count).scatter_reduce_(0, place, torch.arange(count), "amin")
    return order[first]


def checked_values(values: Tensor, sources: Tensor, name: str) -> PerImage:
    """One number, 0 or more, of each pair in float64, with NaN as infinity."""
    if len(values) != len(sources):
        raise ValueError(f"{name} and sources must have one row per pair, got {len(values)} and {len(sources)}")
    values = _nan_as_infinity(values)
    if bool((values < 0).any()):
        raise ValueError(f"{name} must be 0 or more, got {float(values.min()):.4g}")
    return values


def _nan_as_infinity(values: Tensor) -> Tensor:
    return values.detach().cpu().double().nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)


def draw_pairs(pairs: Pairs, *, generator: torch.Generator | None = None) -> SelectedPairs:
    """One random pair of every source; as :func:`one_per_source`."""
    return SelectedPairs(pairs, one_per_source(sources_of(pairs), generator=generator))


@dataclass(frozen=True)
class Covering(Printed):
    """A limit, the share of future numbers within it, and the chance that this is wrong.

    Attributes:
        limit: The limit τ; infinite where no finite one is certified.
        share: Least share p of future numbers that are at most τ.
        alpha: The chance α.
        solved: Which of the three the other two gave.
        rank: Where the limit was solved for: its place k among the sorted numbers; otherwise how many are within it.
        count: How many numbers there were.
    """

    limit: float
    share: float
    alpha: float
    solved: Literal["limit", "share", "alpha"]
    rank: int
    count: int


def tolerance_limit(
    numbers: PerImage, *, limit: float | None = None, share: float | None = None, alpha: float | None = None
) -> Covering:
    """Solves for the one of limit τ, share p in (0, 1) and chance of error α in (0, 1) that is not given.

    NaN and infinity are beyond every limit, which is finite.

    Raises:
        ValueError: If not exactly two are given, one is out of range, or there are no or too few numbers.

    Example:
        >>> tolerance_limit(torch.arange(100.0), share=0.9, alpha=0.05).limit  # the 96th smallest
        95.0
    """
    check_two(limit=limit, share=share, alpha=alpha)
    values = _nan_as_infinity(numbers)
    count = len(values)
    check_enough(count, share, alpha)
    if limit is None:
        assert share is not None
        assert alpha is not None
        ranks = torch.arange(1, count + 1)
        rank = int(ranks[chance_of_at_least(ranks, count, share) <= alpha][0])
        return Covering(float(values.sort().values[rank - 1]), share, alpha, "limit", rank, count)
    within = int((values <= limit).sum())
    if share is None:
        assert alpha is not None
        return Covering(limit, float(share_at_least(within, count, alpha)), alpha, "share", within, count)
    chance = max(float(chance_of_at_least(within, count, share)), sys.float_info.min)  # no chance is exactly 0
    return Covering(limit, share, chance, "alpha", within, count)


def sources_needed(share: float, alpha: float) -> int:
    r"""How few independent sources can certify a share, if all of them are within the limit.

    .. math:: n = \lceil \ln \alpha / \ln p \rceil, \quad \text{the least with } p^n \le \alpha

    Both are in (0, 1), or refused.

    Example:
        >>> sources_needed(0.95, 0.05)
        59
    """
    check_chance("share", share)
    check_chance("alpha", alpha)
    count = max(1, math.ceil(math.log(alpha) / math.log(share)) - 1)
    return next(n for n in (count, count + 1, count + 2) if float(chance_of_at_least(n, n, share)) <= alpha)


def check_enough(count: int, share: float | None, alpha: float | None) -> None:
    """Refuses too few held-out sources before anything is searched; share and alpha are ``None`` if solved for."""
    needed = 1 if share is None or alpha is None else sources_needed(share, alpha)
    if not count:
        raise ValueError(f"{needed} or more held-out sources are needed, got none: choose another split")
    if count < needed:
        raise ValueError(
            f"{needed} held-out sources are needed for share={share:g} with alpha={alpha:g}, even if all are within "
            f"the limit, got {count}: hold out more, or ask for a smaller share or a larger alpha"
        )


def check_two(*, limit: float | None, share: float | None, alpha: float | None, name: str = "limit") -> None:
    """Refuses anything but two of limit (called ``name`` by the caller), share and alpha, each in its range."""
    given = {key: value for key, value in {name: limit, "share": share, "alpha": alpha}.items() if value is not None}
    if len(given) != 2:
        raise ValueError(
            f"two of {name}, share and alpha must be given, the third follows from them; got {given or 'none of them'}"
        )
    if limit is not None and not 0 <= limit < math.inf:
        raise ValueError(f"{name} must be 0 or more and finite, got {limit}")
    for key in ("share", "alpha"):
        if key in given:
            check_chance(key, given[key])
