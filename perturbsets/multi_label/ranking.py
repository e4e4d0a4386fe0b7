"""Which labels are among the k that a model ranks highest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from perturbsets._types import Flags, LabelLogits, Model, PerImage, Samples, States
from perturbsets.multi_label.objectives import MultiLabelLoss, MultiLabelObjective, bind
from perturbsets.rows import named_rows

# Whether labels that are off stand above labels that are on.


@dataclass(frozen=True)
class LabelRanking(MultiLabelObjective):
    r"""How far the highest label that is off stands above the lowest that is on (raised), or a target's (lowered).

    .. math:: r(s, T) = \max_{j \notin T} s_j - \min_{j \in T} s_j

    with s the logits and T the labels that are on. Untargeted, T are the true labels and the value is r, which is
    maximised; the goal is reached where :math:`r > 0`, when some label that is off stands above some that is on.
    Targeted, T are those of the target and the value is :math:`-r`, so that r is minimised; the goal is reached where
    :math:`r < 0`, when all of T stand above all others. Labels whose state is NaN are in neither group.

    There is no :math:`[\cdot]_+` around r: where the ranking is right, it would leave the untargeted form without a
    gradient. The thresholds of the labels play no part.

    Args:
        targeted: Whether the states given are targets.

    References:
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (attacks on rankings of labels).

    Example:
        >>> from torch import nn
        >>> import torch
        >>> loss = LabelRanking().at(nn.Identity(), torch.rand(1, 3), torch.tensor([[1, 0, 1]]))
        >>> logits = torch.tensor([[2.0, 1.0, 1.5]])
        >>> loss(logits, logits)
        (tensor([-0.5000]), tensor([False]))
    """

    targeted: bool = False

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        """Binds to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown or free.

        Raises:
            ValueError: If states do not fit the samples, or an image has no label that is on, or none that is off.
        """
        sign = -1 if self.targeted else 1

        def value(logits: LabelLogits, states: States) -> PerImage:
            return sign * _inversion(logits, states)

        def turned(logits: LabelLogits, states: States) -> Flags:
            return value(logits, states) > 0

        loss = bind(model, images, labels, value, turned)
        one_kind = ~self.attainable(loss.states)
        if bool(one_kind.any()):
            raise ValueError(
                f"labels must be on and off in each image to be ranked, got only one kind in {named_rows(one_kind)}: "
                "leave these out"
            )
        return loss

    def attainable(self, states: States) -> Flags:
        return (states == 1).any(1) & (states == 0).any(1)


def _inversion(logits: LabelLogits, states: States) -> PerImage:
    highest = logits.masked_fill(states != 0, -math.inf).amax(1)  # NaN is unlike 0 and 1
    return highest - logits.masked_fill(states != 1, math.inf).amin(1)


@dataclass(frozen=True)
class TopK(MultiLabelObjective):
    r"""How far the labels that are on are from leaving the first k (lowered), or a target's from being among them.

    .. math:: g(s, T) = \max_{j \in T} s_j - s_{[k]}, \qquad
        g_t(s, T) = s_{[k - m + 1]} - s^T_{[m]}, \quad m = \min(k, |T|)

    with s the logits, T the labels that are on, :math:`s^T_{[r]}` the r-th largest logit in T and :math:`s_{[r]}`
    the r-th largest outside of T. Untargeted, T are the true labels, g is minimised and the value is :math:`-g`; the
    goal is reached where :math:`g < 0`, when no label of T is among the k largest. Targeted, T are the labels that
    the target has on, :math:`g_t` is minimised and the value is :math:`-g_t`; the goal is reached where
    :math:`g_t < 0`, when all of T are among the k largest or, of more than k labels, when the k largest are all in T.
    A label whose state is NaN is not in T, and takes its place among the k like any other.

    ``smooth`` takes the average of the r largest in the place of :math:`s_{[r]}`: more labels have a gradient, and
    steps change less when labels change places. It is never less than what it stands for, so that the value is higher
    than the exact one, or lower when targeted; the goal is the exact one in either case. In our trials the exact form
    is the stronger attack: one high label satisfies the average, while the goal asks for r labels.

    Args:
        k: Number of labels that count, at least 1 and below that of all labels.
        targeted: Whether the states given are targets.
        smooth: Whether an average stands for the r-th largest logit outside of T; exact if not given.

    Raises:
        ValueError: If k is no whole number, or below 1.

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
    targeted: bool = False
    smooth: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, Integral):
            raise ValueError(f"k must be a whole number, got {self.k!r}: the number of labels that count")
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}: the number of labels that count")

    def at(self, model: Model | None, images: Samples, labels: Any) -> MultiLabelLoss:
        """Binds to a multi-label classifier and states ``[B, L]``: 1 on, 0 off, NaN unknown or free.

        Raises:
            ValueError: If states do not fit the samples, k is not below the number of labels, or the goal is none for
                some image: no label is on, fewer than k are not, or a target has all on.
        """

        def value(logits: LabelLogits, states: States) -> PerImage:
            return -self._gap(logits, states, smooth=self.smooth)

        def turned(logits: LabelLogits, states: States) -> Flags:
            return self._gap(logits, states, smooth=False) < 0

        loss = bind(model, images, labels, value, turned)
        self._check(loss.states)
        return loss

    def attainable(self, states: States) -> Flags:
        labels = states.shape[1]
        if self.k >= labels:
            raise ValueError(
                f"k must be below the number of labels, {labels}, got {self.k}: all labels are among the {labels} first"
            )
        on = (states == 1).sum(1)
        return (on >= 1) & (labels - on >= self._others)

    @property
    def _others(self) -> int:
        """How many labels must not be on for the goal to be one."""
        return 1 if self.targeted else self.k

    def _gap(self, logits: LabelLogits, states: States, *, smooth: bool) -> PerImage:
        on = states == 1
        if self.targeted:
            inside = on.sum(1).clamp(max=self.k)
            return _largest(logits, ~on, self.k - inside + 1, smooth=smooth) - _largest(logits, on, inside)
        first = torch.ones_like(on[:, 0], dtype=torch.int64)
        return _largest(logits, on, first) - _largest(logits, ~on, self.k * first, smooth=smooth)

    def _check(self, states: States) -> None:
        pointless = ~self.attainable(states)
        if bool(pointless.any()):
            raise ValueError(
                f"labels must be on for at least 1 label of each image and not on for at least {self._others}, got "
                f"others in {named_rows(pointless)}: leave these out"
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
