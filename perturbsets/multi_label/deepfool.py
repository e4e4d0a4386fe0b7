"""DeepFool for patterns of labels: the least Euclidean change that meets the linearised constraints."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Model, Offsets, PerImage, Samples
from perturbsets.adversaries.smallest_radius import SmallestRadius
from perturbsets.multi_label.least_change import least_change
from perturbsets.sets.base import PerturbationSet
from perturbsets.sets.pixel import PixelBall

SOFT = 1e-8  # share of its multiplier by which a constraint may be missed, which bounds the multipliers
ROUNDS = 60  # of Newton's method; a few are enough unless constraints are nearly alike
HALVINGS = 40
ENOUGH = 1e-10  # slope of the dual that is rounding, as a share of what is needed


def multi_label_deepfool(
    model: Model,
    images: Samples,
    targets: Tensor,
    *,
    perturbations: PerturbationSet | None = None,
    steps: int = 50,
    overshoot: float = 0.02,
    margin: float = 0.0,
    equality: bool = False,
) -> SmallestRadius:
    r"""Minimises the Euclidean length of the offsets at which each target label has its state.

    .. math:: \min_r \|r\|_2 \quad \text{subject to} \quad y^*_j \big(s_j + \nabla s_j^\top r\big) \ge \gamma

    for the target labels j, with :math:`y^*_j` 1 for on and -1 for off, linearised anew after each step. A constraint
    that already holds pulls nowhere: the published form asks for equality, by the pseudo-inverse, and so pulls labels
    that are far on their right side back to the boundary. Bounds of the samples are constraints too, rather than
    clipped to afterwards. After the first success, further rounds move along the boundary to its nearest point.

    Args:
        model: The multi-label classifier, samples to logits ``[B, L]``; run in evaluation mode and left as it was.
        images: Clean samples.
        targets: Target states ``[B, L]``: 1 on, 0 off, NaN free. :func:`target_labels` makes them.
        perturbations: Any set whose offsets can be searched; by default all samples within [0, 1]. What lies outside of
            a set's radius is projected into it each round.
        steps: Largest number of rounds; each costs a forward pass, and a backward pass for each target label.
        overshoot: Share of a missing margin by which first steps go beyond it, in (0, 1); later rounds take it back.
        margin: Margin γ to the boundary, 0 or more, in logits.
        equality: Whether to ask for equality, as published.

    Returns:
        Euclidean lengths of the offsets, whatever the set's norm, with samples and calls; infinite without a success, 0
        where no label has a target or all targets hold already. On linear models they are at most a thousandth above
        the least, at the default overshoot; never below it.

    Raises:
        ValueError: If a setting is outside its range, the set has no offsets to search, or samples, targets or logits
            do not fit.

    References:
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (ML-DF); Moosavi-Dezfooli, Fawzi and
        Frossard, *DeepFool: a simple and accurate method to fool deep neural networks*, 2016.

    Example:
        >>> from perturbsets.multi_label import target_labels
        >>> from torch import nn
        >>> model = nn.Linear(3, 3)
        >>> _ = nn.init.eye_(model.weight), nn.init.constant_(model.bias, -0.4)
        >>> x = torch.full((1, 3), 0.5)  # all labels are on
        >>> nearest = multi_label_deepfool(model, x, target_labels(torch.ones(1, 3), hide=[0, 1]))
        >>> round(float(nearest.radii), 3), (model(nearest.images) > 0).tolist()  # the root of 0.1² + 0.1²
        (0.141, [[False, False, True]])
    """
    return least_change(
        model,
        images,
        targets,
        perturbations=perturbations if perturbations is not None else PixelBall("l2", math.inf),
        solve=partial(least_norm, equality=equality),
        norm=lambda offsets: offsets.norm(dim=1),
        steps=steps,
        overshoot=overshoot,
        margin=margin,
    )


def least_norm(
    rows: Float[Tensor, "B L Z"],
    needed: Float[Tensor, "B L"],
    low: Offsets,
    high: Offsets,
    *,
    equality: bool = False,
) -> Offsets:
    r"""Solves :math:`\min \|w\|_2` subject to :math:`A w \ge b` and :math:`a \le w \le c`, for each image.

    The dual has one multiplier a constraint, and :math:`w(\lambda) = \operatorname{clip}(A^\top \lambda, a, c)`:

    .. math:: \max_{\lambda \ge 0}\ b^\top \lambda - \max_{a \le w \le c} \big(\lambda^\top A w - \tfrac12 \|w\|^2\big)

    Minus its second derivative is the Gram matrix of the rows over the coordinates that are not clipped, so that
    projected Newton steps on L x L systems solve it for all images at once. Rows are scaled to length 1. Constraints
    that cannot be met are missed by little.

    Rows with b minus infinity are no constraint, and rows of zeros are left unmet; :math:`a \le 0 \le c` may be
    infinite. With ``equality``, :math:`A w = b` is asked for and multipliers have any sign.

    References:
        Bertsekas, *Projected Newton methods for optimization problems with simple constraints*, 1982.

    Example:
        >>> rows, needed = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[5.0]])
        >>> infinite = torch.full((1, 2), torch.inf)
        >>> least_norm(rows, needed, -infinite, infinite)
        tensor([[0.6000, 0.8000]])
    """
    like = rows
    rows, needed, low, high = (in_double(part) for part in (rows, needed, low, high))
    lengths = rows.norm(dim=2)
    absent = ~((lengths > 0) & needed.isfinite())
    lengths = lengths.masked_fill(absent, 1)
    a = rows.masked_fill(absent[..., None], 0) / lengths[..., None]
    b = (needed / lengths).masked_fill(absent, 0)
    problem = _Dual(a, b, low, high)
    multipliers = torch.zeros_like(b)
    enough = ENOUGH * b.abs().amax(1, keepdim=True) if b.numel() else b
    for _ in range(ROUNDS):
        value, slope, curvature = problem.at(multipliers)
        held = absent if equality else absent | ((multipliers <= 0) & (slope <= 0))
        slope = slope.masked_fill(held, 0)
        if not bool((slope.abs() > enough).any()):
            break
        apart = held[:, :, None] | held[:, None, :]
        step = torch.linalg.solve(curvature.masked_fill(apart, 0) + torch.diag_embed(held.to(slope)), slope)
        multipliers = problem.improved(multipliers, step, value, slope, signed=equality)
    return problem.offsets(multipliers).to(like)


class _Dual:
    """The dual problem of rows of length 1, with a small price on squared multipliers."""

    def __init__(self, rows: Tensor, needed: Tensor, low: Tensor, high: Tensor) -> None:
        self.rows, self.needed, self.low, self.high = rows, needed, low, high

    def offsets(self, multipliers: Tensor) -> Tensor:
        """The vectors w."""
        return self._pull(multipliers).clamp(self.low, self.high)

    def value(self, multipliers: Tensor) -> PerImage:
        """The value of the dual."""
        pull = self._pull(multipliers)
        w = pull.clamp(self.low, self.high)
        price = 0.5 * SOFT * multipliers.square().sum(1)
        return (self.needed * multipliers).sum(1) - price - (w * (pull - 0.5 * w)).sum(1)

    def at(self, multipliers: Tensor) -> tuple[PerImage, Tensor, Tensor]:
        """Value, slope and minus the second derivative."""
        pull = self._pull(multipliers)
        free = (pull >= self.low) & (pull <= self.high)
        w = pull.clamp(self.low, self.high)
        slope = self.needed - torch.einsum("blz,bz->bl", self.rows, w) - SOFT * multipliers
        gram = torch.einsum("blz,bmz->blm", self.rows * free[:, None], self.rows)
        gram.diagonal(dim1=1, dim2=2).add_(SOFT)
        return self.value(multipliers), slope, gram

    def improved(self, start: Tensor, step: Tensor, value: PerImage, slope: Tensor, *, signed: bool) -> Tensor:
        """The multipliers after a line search that halves each image's step until its value rises enough."""
        share = torch.ones_like(value)
        best = start
        left = torch.ones_like(value, dtype=torch.bool)
        for _ in range(HALVINGS):
            trial = start + share[:, None] * step
            trial = trial if signed else trial.clamp_min(0)
            raised = self.value(trial) >= value + 1e-4 * (slope * (trial - start)).sum(1)
            best = torch.where((left & raised)[:, None], trial, best)
            left = left & ~raised
            if not bool(left.any()):
                break
            share = torch.where(left, share / 2, share)
        return best

    def _pull(self, multipliers: Tensor) -> Tensor:
        return torch.einsum("bl,blz->bz", multipliers, self.rows)
