"""Objectives over the order of labels: whether on labels rank above off ones, and which are among the first k."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from numbers import Integral

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from perturbsets._types import Flags, LabelLogits, PerImage, States
from perturbsets.multi_label.objectives import MultiLabelObjective
from perturbsets.rows import named_rows


@dataclass(frozen=True)
class LabelRanking(MultiLabelObjective):
    r"""How far the highest logit of an off label is above the lowest of an on label (raised; of a target lowered).

    .. math:: r(s, T) = \max_{j \notin T} s_j - \min_{j \in T} s_j

    with s the logits and T the labels that are on. Untargeted, T are the true labels, the value is r, and the attack
    succeeds where :math:`r > 0`: some off label ranks above some on label. Targeted, T are those of the target, the
    value is :math:`-r`, and the attack succeeds where :math:`r < 0`: all of T rank above all others. Labels whose state
    is NaN are in neither group, and thresholds of labels play no part.

    There is no :math:`[\cdot]_+` around r: it would leave the untargeted form without a gradient where the ranking is
    right.

    Args:
        targeted: Whether the states are targets.

    Raises:
        ValueError: At binding, if states do not fit the samples, or an image has no on label, or no off label.

    References:
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (attacks on rankings of labels).

    Example:
        >>> from torch import nn
        >>> loss = LabelRanking().at(nn.Identity(), torch.rand(1, 3), torch.tensor([[1, 0, 1]]))
        >>> logits = torch.tensor([[2.0, 1.0, 1.5]])
        >>> loss(logits, logits)
        (tensor([-0.5000]), tensor([False]))
    """

    _: KW_ONLY
    targeted: bool = False

    def value(self, logits: LabelLogits, states: States) -> PerImage:
        highest_off = logits.masked_fill(states != 0, -math.inf).amax(1)  # NaN is unlike 0 and 1
        value = highest_off - logits.masked_fill(states != 1, math.inf).amin(1)
        return -value if self.targeted else value

    def success(self, logits: LabelLogits, states: States) -> Flags:
        return self.value(logits, states) > 0

    def attainable(self, states: States) -> Flags:
        return (states == 1).any(1) & (states == 0).any(1)

    def check(self, states: States) -> None:
        if bool((one_kind := ~self.attainable(states)).any()):
            raise ValueError(
                f"labels must be on and off in each image to be ranked, got only one kind in {named_rows(one_kind)}: "
                "leave these out"
            )


@dataclass(frozen=True)
class TopK(MultiLabelObjective):
    r"""How far the on labels are from leaving the first k (lowered), or those of a target from being among them.

    .. math:: g(s, T) = \max_{j \in T} s_j - s_{[k]}, \qquad
        g_t(s, T) = s_{[k - m + 1]} - s^T_{[m]}, \quad m = \min(k, |T|)

    with s the logits, T the labels that are on, :math:`s^T_{[r]}` the r-th largest logit in T and :math:`s_{[r]}`
    the r-th largest outside of T. Untargeted, T are the true labels, the value is :math:`-g`, and the attack succeeds
    where :math:`g < 0`: no label of T is among the k largest. Targeted, T are the on labels of the target, the value is
    :math:`-g_t`, and the attack succeeds where :math:`g_t < 0`: all of T are among the k largest or, of more than k
    labels, the k largest are all in T. A label whose state is NaN is not in T, and ranks like any other.

    ``smooth`` replaces :math:`s_{[r]}` by the average of the r largest, which is never less: more labels have a
    gradient, and steps change less when labels change places. The success is the exact one in either case. In our
    trials the exact form is the stronger attack: one high label satisfies the average, while success needs r labels.

    Args:
        k: Number of labels that count, at least 1 and below the number of labels.
        targeted: Whether the states are targets.
        smooth: Whether to average.

    Raises:
        ValueError: If k is no whole number, or below 1; at binding, if states do not fit the samples, k is not below
            the number of labels, or an image cannot be attacked: no label is on, fewer than k are not, or a target has
            all on.

    References:
        Hu, Ke, Wang and Lyu, *TkML-AP: adversarial attacks to top-k multi-label learning*, 2021. There all labels
        compete, those in T too, and untargeted the average is over the largest of the differences to them.

    Example:
        >>> from torch import nn
        >>> loss = TopK(2).at(nn.Identity(), torch.rand(1, 4), torch.tensor([[1, 0, 0, 0]]))
        >>> logits = torch.tensor([[2.0, 3.0, 1.5, 0.0]])
        >>> loss(logits, logits)  # it is second; 1.5 would have to rise by half a unit
        (tensor([-0.5000]), tensor([False]))
    """

    k: int
    _: KW_ONLY
    targeted: bool = False
    smooth: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, Integral):
            raise ValueError(f"k must be a whole number, got {self.k!r}: the number of labels that count")
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}: the number of labels that count")

    def value(self, logits: LabelLogits, states: States) -> PerImage:
        return -self._gap(logits, states, smooth=self.smooth)

    def success(self, logits: LabelLogits, states: States) -> Flags:
        return self._gap(logits, states, smooth=False) < 0

    def _gap(self, logits: LabelLogits, states: States, *, smooth: bool) -> PerImage:
        on = states == 1
        if self.targeted:
            inside = on.sum(1).clamp(max=self.k)
            return _largest(logits, ~on, self.k - inside + 1, smooth=smooth) - _largest(logits, on, inside)
        first = torch.ones_like(on[:, 0], dtype=torch.int64)
        return _largest(logits, on, first) - _largest(logits, ~on, self.k * first, smooth=smooth)

    @property
    def _others(self) -> int:
        """How many labels must not be on for an attack to be possible."""
        return 1 if self.targeted else self.k

    def attainable(self, states: States) -> Flags:
        labels = states.shape[1]
        if self.k >= labels:
            raise ValueError(
                f"k must be below the number of labels, {labels}, got {self.k}: all labels are among the {labels} first"
            )
        on = (states == 1).sum(1)
        return (on >= 1) & (labels - on >= self._others)

    def check(self, states: States) -> None:
        if bool((impossible := ~self.attainable(states)).any()):
            raise ValueError(
                f"labels must be on for at least 1 label of each image and not on for at least {self._others}, got "
                f"others in {named_rows(impossible)}: leave these out"
            )


def _largest(
    logits: LabelLogits, among: Bool[Tensor, "B L"], rank: Int64[Tensor, " B"], *, smooth: bool = False
) -> PerImage:
    """The logit of a rank among some of the labels, 1 for the largest, or the average of those down to it."""
    ordered = logits.masked_fill(~among, -math.inf).sort(1, descending=True).values
    if not smooth:
        return ordered.gather(1, rank[:, None] - 1)[:, 0]
    down_to_it = torch.arange(logits.shape[1], device=logits.device) < rank[:, None]
    return ordered.where(down_to_it, 0).sum(1) / rank
