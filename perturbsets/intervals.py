r"""Confidence intervals of shares, differences and means over independent units.

All are at 95 %. Rows of one *independent unit*, or group (cut-outs of one photograph, images of one scene or
person, labels of one image, runs of several seeds on one image), count together. Three kinds:

- :func:`share_interval`: a share of flags, or a mean of shares in [0, 1]. Exact for independent flags.
- :func:`difference_interval`: by how much two shares of the same images differ.
- :func:`mean_interval`: a mean of any real numbers, or a ratio of two means.

Coverage by simulation (``tests/perturbsets/test_interval_coverage.py``) is 95 % or more up to what follows. Shares: at
least 94.5 %, for shares from 0 to 1 and 2 to 300 groups with an intra-class correlation from 0 to 1. Differences: at
least 93.5 % from 5 groups on. Means: at least 94 % for normal, uniform and exponential values, from 5 groups on; for
log-normal values of shape 1, whose mean hangs on rare large ones, 90 % at 5 groups, 92 % at 15 and 94 % at 30.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy import special, stats
from torch import Tensor

LEVEL = 0.95
LEAST = 5  # groups; below it no interval of a mean or difference keeps its level
RESAMPLES = 2000
NO_INTERVAL = "–"

_TAIL = (1 - LEVEL) / 2
_CHUNK = 1 << 22  # numbers drawn in one go
_ROUNDING = 1e-6  # by which a share of single precision may leave [0, 1], and below which values are all equal


class Interval(NamedTuple):
    """A mean and its interval.

    Attributes:
        mean: The mean of the values.
        low: Lower end of the interval; ``None`` where the data give none, such as for too few independent units.
        high: Upper end, or ``None``.
    """

    mean: float
    low: float | None
    high: float | None

    def scaled(self, factor: float) -> Interval:
        """The same in another unit: all three numbers times a factor above 0."""
        return Interval(*(None if value is None else factor * value for value in self))  # type: ignore[arg-type]


def share_interval(shares: Tensor, groups: Tensor | None = None, *, over: Tensor | None = None) -> Interval:
    r"""A share with its interval; it has a width at 0 % and 100 % too.

    .. math:: \hat p = \frac{\sum_i v_i}{\sum_i w_i}, \qquad
        \big[B^{-1}(\tfrac\alpha2;\, \hat p\, n, (1 - \hat p) n + 1),\
        B^{-1}(1 - \tfrac\alpha2;\, \hat p\, n + 1, (1 - \hat p) n)\big]

    with :math:`B^{-1}` the quantiles of the beta distribution: the exact interval of Clopper and Pearson for n
    independent flags. For flags that depend on each other n is the effective number of units. Groups g with sums
    :math:`v_g, w_g` have the residuals :math:`r_g = v_g - \hat p w_g`, and

    .. math:: K = \frac{(\sum_g w_g)^2}{\sum_g w_g^2}, \qquad s^2 = \frac{\sum_g r_g^2}{(\sum_g w_g)^2}, \qquad
        n = \frac{\hat p (1 - \hat p)}{s^2} \text{ if that is at most } K, \text{ else }
        \max\Big(K, \frac{\hat p (1 - \hat p)}{s^2 + 1 / (4 K^2)}\Big)

    K is the number of groups where all are of one size. This is the interval of Korn and Graubard with one change:
    instead of their factor of t quantiles, which lets coverage fall to 86 % for rare failures that come together,
    the variance is that of one more group, unseen, of the largest variance a flag can have, 1/4. Where all flags are
    equal, n is K.

    Args:
        shares: Flags, or numbers in [0, 1], ``[N]``; or ``[N, M]``, where those of a row count together, such as the
            labels of an image or one flag for each seed.
        groups: Number of each row's independent unit, ``[N]``; by default every row is its own.
        over: What shares are parts of, in the same shape: then they lie between 0 and these.

    Returns:
        The share and its interval, for any number of groups.

    Raises:
        ValueError: If there are no rows, a share lies outside of its range, or groups are not one per row.

    References:
        Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934;
        Korn and Graubard, *Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data*, 1998.

    Example:
        >>> import torch
        >>> mean, low, high = share_interval(torch.ones(30, dtype=torch.bool))
        >>> mean, round(low, 3), high
        (1.0, 0.884, 1.0)
    """
    above, below = _sums("shares", shares, groups, over)
    parts = shares.detach().cpu().double()
    whole = 1.0 if over is None else over.detach().cpu().double()
    if not bool(((parts >= -_ROUNDING) & (parts <= whole + _ROUNDING)).all()):  # NaN fails too
        raise ValueError(
            f"shares must be flags or within 0 and {'1' if over is None else 'over'}, got {float(parts.min()):.4g} to "
            f"{float(parts.max()):.4g}: `mean_interval` takes other numbers"
        )
    mean = min(max(float(above.sum() / below.sum()), 0.0), 1.0)
    units = _effective(above - mean * below, below, mean * (1 - mean), 1 / 4)
    return Interval(mean, *exact_ends(mean, units))


def share_of(flags: Tensor, rows: Tensor, groups: Tensor | None = None) -> Interval | None:
    """Share of flags, or of numbers in [0, 1], among the rows that count, with its interval; ``None`` if none counts.

    Example:
        >>> import torch
        >>> flags = torch.tensor([True, False, True])
        >>> share_of(flags, flags).mean, share_of(flags, torch.zeros(3, dtype=torch.bool))
        (1.0, None)
    """
    return share_interval(torch.where(rows, flags, 0), groups, over=rows) if bool(rows.any()) else None


def difference_interval(first: Tensor, second: Tensor, groups: Tensor | None = None) -> Interval:
    r"""Difference of two shares of the same images; the interval has a width where all differences are 0.

    With :math:`d_i` the difference of row i, its positive and negative parts have the means b and c, for flags the
    shares of images that only the first and only the second has right. Each has exact ends
    :math:`[b_-, b_+], [c_-, c_+]` at the effective number of units (as for :func:`share_interval`, for the variance
    :math:`b + c - (b - c)^2`, and with the largest variance 1), and with :math:`\rho^2 = bc / ((1 - b)(1 - c))` the
    lower end of b - c is

    .. math:: b - c - \sqrt{(b - b_-)^2 + (c_+ - c)^2 + 2 \rho (b - b_-)(c_+ - c)}

    and the upper one likewise. Where all differences are 0, the ends are the exact ones of either part.

    Args:
        first: Flags, or numbers in [0, 1], ``[N]``; or ``[N, M]``, where those of a row count together.
        second: Those of the same images, perhaps of another number in each row.
        groups: Number of each row's independent unit; by default every row is its own.

    Returns:
        The difference and its interval; none below 5 groups.

    Raises:
        ValueError: If there are no rows, their numbers differ, or groups are not one per row.

    References:
        Zou and Donner, *Construction of confidence limits about effect measures: a general approach*, 2008 (how limits
        are put together).

    Example:
        >>> import torch
        >>> same = torch.ones(30, dtype=torch.bool)
        >>> mean, low, high = difference_interval(same, same)
        >>> mean, round(low, 3), round(high, 3)
        (0.0, -0.116, 0.116)
    """
    if len(first) != len(second):
        raise ValueError(f"first and second must be of the same images, got {len(first)} and {len(second)}")
    one, other = (values.detach().cpu().double().reshape(len(values), -1).mean(1) for values in (first, second))
    change, below = _sums("first", one - other, groups, None)
    total = below.sum()
    mean = float(change.sum() / total)
    gained, lost = (float((sign * (one - other)).clamp_min(0).sum() / total) for sign in (1, -1))
    if len(below) < LEAST:
        return Interval(mean, None, None)
    units = _effective(change - mean * below, below, gained + lost - mean**2, 1.0)
    more, less = exact_ends(gained, units), exact_ends(lost, units)
    free = (1 - gained) * (1 - lost)
    correlation = math.sqrt(gained * lost / free) if free > 0 else 0.0

    def reach(up: float, down: float) -> float:
        return math.sqrt(up**2 + down**2 + 2 * correlation * up * down)

    low = mean - reach(gained - more[0], less[1] - lost)
    high = mean + reach(more[1] - gained, lost - less[0])
    return Interval(mean, max(low, -1.0), min(high, 1.0))


def mean_interval(
    values: Tensor,
    groups: Tensor | None = None,
    *,
    over: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Interval:
    r"""A mean of real numbers, or a ratio of means, with its interval.

    .. math:: R = \frac{\sum_i v_i}{\sum_i w_i}, \qquad [R - s\, t_+,\ R - s\, t_-]

    with s the standard error over groups. The interval is the hull of two: Student's, and the studentised bootstrap,
    where :math:`t_\pm` are quantiles of :math:`(R^* - R) / s^*` over resamples of groups. The former alone is too
    short for skewed values, the latter alone for symmetric ones of few groups.

    Args:
        values: One number per row, ``[N]``.
        groups: Number of each row's independent unit; by default every row is its own.
        over: Denominators: the figure is then mean(values) / mean(over).
        generator: For the resampling; one of seed 0 if not given, so that the same values give the same interval.

    Returns:
        The figure and its interval. There is none below 5 groups, where all groups have the same figure (nothing tells
        how others would differ), or where so few groups differ that resamples without any are common.

    Raises:
        ValueError: If there are no values, or groups are not one per row.

    References:
        Efron and Tibshirani, *An introduction to the bootstrap*, 1993, sec. 12.5 (bootstrap-t), 8.6 (groups).

    Example:
        >>> import torch
        >>> mean_interval(torch.tensor([1.0, 2.0, 6.0]))
        Interval(mean=3.0, low=None, high=None)
    """
    above, below = _sums("values", values, groups, over)
    count, total = len(above), float(below.sum())
    figure = float(above.sum()) / total if total else math.nan
    rest = above - figure * below
    largest = float(torch.maximum(above.abs(), (figure * below).abs()).max())
    if count < LEAST or not float(rest.abs().max()) > _ROUNDING * largest:  # NaN fails too
        return Interval(figure, None, None)
    deviation = math.sqrt(count / (count - 1) * float(rest.square().sum())) / total
    student = float(stats.t.ppf(1 - _TAIL, count - 1))
    low, high = _studentised(rest, below, generator or torch.Generator().manual_seed(0))
    ends = figure - deviation * max(high, student), figure - deviation * min(low, -student)
    return Interval(figure, *ends) if all(map(math.isfinite, ends)) else Interval(figure, None, None)


def exact_ends(share: float, units: float) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a share of so many independent units, which need not be whole."""
    hits, misses = share * units, (1 - share) * units
    low = float(special.betaincinv(hits, misses + 1, _TAIL)) if hits > 0 else 0.0
    high = float(special.betainccinv(hits + 1, misses, _TAIL)) if misses > 0 else 1.0
    return low, high


def ends(low: float | None, high: float | None, form: Callable[[float], str], between: str = " to ") -> str:
    """Both ends of an interval as text, or a dash where there is none."""
    return NO_INTERVAL if low is None or high is None else f"{form(low)}{between}{form(high)}"


def independent(count: int, groups: Tensor | None) -> int:
    """Number of independent units among so many rows.

    Raises:
        ValueError: If groups are not one number for each row.
    """
    if groups is None:
        return count
    if groups.shape != (count,):
        raise ValueError(f"groups must be one number for each of {count} rows, got {list(groups.shape)}")
    return len(groups.unique())


def _sums(name: str, values: Tensor, groups: Tensor | None, over: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums of values and of denominators of each group, on the CPU in float64."""
    if not len(values):
        raise ValueError(f"{name} must hold at least one number, got none")
    if over is not None and over.shape != values.shape:
        raise ValueError(f"over must be of the shape of {name}, {list(values.shape)}, got {list(over.shape)}")
    independent(len(values), groups)
    above = values.detach().cpu().double()
    below = torch.ones_like(above) if over is None else over.detach().cpu().double()
    above, below = (part.reshape(len(part), -1).sum(1) for part in (above, below))
    if groups is None:
        return above, below
    units, members = groups.detach().cpu().unique(return_inverse=True)
    zeros = torch.zeros(len(units), dtype=torch.float64)
    return zeros.index_add(0, members, above), zeros.index_add(0, members, below)


def _effective(rest: Tensor, weights: Tensor, variance: float, unseen: float) -> float:
    """How many independent units would have the variance of the groups, by their residuals and a unit's variance."""
    total = float(weights.sum())
    kish = total**2 / float(weights.square().sum())
    seen = float(rest.square().sum()) / total**2
    if variance <= _ROUNDING**2:
        return kish
    if variance < (1 - _ROUNDING) * seen * kish:  # not for rounding alone: independent flags have K exactly
        return variance / seen
    return max(kish, variance / (seen + unseen / kish**2))


def _studentised(rest: Tensor, weights: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Lower and upper quantile of the studentised figure over resamples of groups; infinite where these all agree."""
    count = len(rest)
    studentised = []
    for some in torch.arange(RESAMPLES).split(max(1, _CHUNK // count)):
        rows = torch.randint(count, (len(some), count), generator=generator, device=generator.device).cpu()
        r, w = rest[rows], weights[rows]
        shift = r.sum(1)
        spread = (r - (shift / w.sum(1))[:, None] * w).square().sum(1).nan_to_num(nan=0.0, posinf=0.0)
        spread = (spread * count / (count - 1)).sqrt()
        equal = spread <= _ROUNDING * shift.abs()
        studentised.append(torch.where(equal, torch.copysign(torch.full_like(shift, math.inf), shift), shift / spread))
    ordered = torch.cat(studentised).nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf).sort().values
    tail = math.floor(_TAIL * (RESAMPLES + 1))
    return float(ordered[tail - 1]), float(ordered[RESAMPLES - tail])
