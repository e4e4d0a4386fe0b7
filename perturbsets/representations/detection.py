"""Detection: how well a score separates adversarial representations from natural ones."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from scipy import special, stats
from torch import Tensor

from perturbsets.intervals import LEVEL, Interval, exact_ends
from perturbsets.rows import named_rows

ROUNDING = 1e-24  # a variance below is rounding: that of real differences is at least 1 / (N M)², for 10^6 of either


class ROC(NamedTuple):
    """A receiver operating characteristic: the shares flagged at each threshold.

    Attributes:
        false_positive: Share of natural representations flagged ``[n]``, from 0 to 1.
        true_positive: Share of adversarial ones flagged at the same threshold.
        area: Area under the curve: the chance that an adversarial score is below a natural one, ties counted half.
        interval: The area with its interval at 95 %.
    """

    false_positive: Float64[Tensor, " n"]
    true_positive: Float64[Tensor, " n"]
    area: float
    interval: Interval

    def summary(self) -> dict[str, Any]:
        """The curve and its area as plain values."""
        return {
            "area": self.interval._asdict(),
            "false_positive": self.false_positive.tolist(),
            "true_positive": self.true_positive.tolist(),
        }


def detection_roc(
    natural: Float[Tensor, " N"],
    adversarial: Float[Tensor, " M"],
    *,
    natural_groups: Int64[Tensor, " N"] | None = None,
    adversarial_groups: Int64[Tensor, " M"] | None = None,
) -> ROC:
    r"""Flags representations whose score is at most a threshold, for every threshold.

    Scores must be high for natural representations, as :func:`likelihood_drop` and :func:`angular_consistency` are.
    With

    .. math:: V(a) = \frac1N \sum_j \big[ a < b_j \big] + \tfrac12 \big[ a = b_j \big], \qquad
        A = \frac1M \sum_i V(a_i)

    the area, U(b) likewise the share of adversarial scores below a natural one, and the sums
    :math:`v_g = \sum_{i \in g} (V(a_i) - A)` and :math:`u_g = \sum_{j \in g} (U(b_j) - A)` over groups g of one guide,

    .. math:: s^2 = \frac{G_a}{(G_a - 1) M^2} \sum_g v_g^2 + \frac{G_n}{(G_n - 1) N^2} \sum_g u_g^2
        + \frac{2 G}{(G - 1) M N} \sum_g v_g u_g

    is the variance of A, for :math:`G_a, G_n` groups with adversarial and natural scores and G in all; DeLong's where
    each score is its own group. The interval is :math:`\operatorname{logit} A \pm 1.96\, s / (A (1 - A))`. Where scores
    are separated completely, or all equal, s is 0 and the interval is the exact binomial one of as many pairs as the
    smaller sample has groups.

    An area below 1/2 means that adversaries score as *more* natural: negate the score only with a reason other than the
    area. Natural points must not be those that the score was fitted on.

    Args:
        natural: Scores of natural representations, at least 2.
        adversarial: Scores of adversarial ones, at least 2.
        natural_groups: Guide of each natural score; scores of one guide are not independent. By default each score is
            its own group.
        adversarial_groups: Guide of each adversarial score, by the same numbers.

    Raises:
        ValueError: If there are fewer than 2 scores or groups of a kind, groups are given for one kind only or are not
            one per score, or a score is not finite.

    References:
        DeLong, DeLong and Clarke-Pearson, *Comparing the areas under two or more correlated receiver operating
        characteristic curves*, 1988; Obuchowski, *Nonparametric analysis of clustered ROC curve data*, 1997.

    Example:
        >>> roc = detection_roc(torch.tensor([0.0, -1.0, -2.0]), torch.tensor([-1.5, -3.0, -4.0]))
        >>> round(roc.area, 4)  # 8 of 9 pairs
        0.8889
    """
    from sklearn.metrics import roc_curve

    groups = _groups(natural, adversarial, natural_groups, adversarial_groups)
    natural, adversarial = natural.detach().cpu().double(), adversarial.detach().cpu().double()
    scores = torch.cat([natural, adversarial])
    positive = torch.arange(len(scores)) >= len(natural)
    false_positive, true_positive, _ = roc_curve(positive.numpy(), -scores.numpy())
    above, below = _share_below(-adversarial, -natural), _share_below(natural, adversarial)
    area = float(above.mean())
    return ROC(
        torch.from_numpy(false_positive),
        torch.from_numpy(true_positive),
        area,
        _interval(area, below - area, above - area, *groups),
    )


def _share_below(scores: Tensor, others: Tensor) -> Tensor:
    """For each score the share of the others below it, equal ones counted half."""
    others = others.sort().values
    twice = torch.searchsorted(others, scores) + torch.searchsorted(others, scores, right=True)
    return twice.double() / (2 * len(others))


def _interval(area: float, natural: Tensor, adversarial: Tensor, first: Tensor, second: Tensor) -> Interval:
    natural_count, adversarial_count = len(first.unique()), len(second.unique())
    total = int(torch.cat([first, second]).max()) + 1
    u = torch.zeros(total, dtype=torch.float64).index_add_(0, first, natural) / len(natural)
    v = torch.zeros(total, dtype=torch.float64).index_add_(0, second, adversarial) / len(adversarial)
    variance = _unbiased(v.square(), adversarial_count) + _unbiased(u.square(), natural_count)
    variance += 2 * _unbiased(u * v, total)
    if variance < ROUNDING:
        return Interval(area, *exact_ends(area, float(min(natural_count, adversarial_count))))
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    return Interval(area, float(special.expit(middle - half)), float(special.expit(middle + half)))


def _unbiased(squares: Tensor, count: int) -> float:
    return float(squares.sum()) * count / (count - 1)


def _groups(natural: Tensor, adversarial: Tensor, first: Tensor | None, second: Tensor | None) -> tuple[Tensor, Tensor]:
    """Group numbers from 0, the same for both kinds; each score its own group where none are given."""
    if (first is None) != (second is None):
        raise ValueError("natural_groups and adversarial_groups must both be given or neither, got one of them")
    if first is None or second is None:
        first, second = torch.arange(len(natural)), len(natural) + torch.arange(len(adversarial))
    checked = []
    for name, scores, groups in (("natural", natural, first), ("adversarial", adversarial, second)):
        if len(groups) != len(scores):
            raise ValueError(f"{name}_groups must be one per score, got {len(groups)} for {len(scores)}")
        if len(groups.unique()) < 2:
            raise ValueError(f"{name} must hold at least 2 scores, of 2 groups, got {len(scores)} scores")
        if not bool((finite := scores.isfinite()).all()):
            raise ValueError(f"{name} must be finite, got NaN or infinity in {named_rows(~finite)}")
        checked.append(groups.cpu())
    numbers = torch.cat(checked).unique(return_inverse=True)[1]
    return numbers[: len(natural)], numbers[len(natural) :]
