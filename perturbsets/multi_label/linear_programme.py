"""Least changes to patterns of labels by linear programmes, in the L-infinity or the L1 norm."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, sparse
from torch import Tensor

from perturbsets._types import Model, Offsets, Samples
from perturbsets.adversaries.smallest_radius import SmallestRadius
from perturbsets.multi_label.least_change import least_change
from perturbsets.sets.pixel import BALLS, PixelBall

Norm = Literal["l1", "linf"]


def label_linear_programme(
    model: Model,
    images: Samples,
    targets: Tensor,
    *,
    norm: Norm = "linf",
    steps: int = 10,
    overshoot: float = 0.02,
    margin: float = 0.0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> SmallestRadius:
    r"""Minimises the norm of the change at which each target label has its state, by a linear programme a round.

    .. math:: \min_{r, t} t \quad \text{subject to} \quad |r_i| \le t,\ a \le x_i + r_i \le b,\
        y^*_j \big(s_j + \nabla s_j^\top r\big) \ge \gamma

    for the target labels j, with :math:`y^*_j` 1 for on and -1 for off; for L1, the sum of the :math:`|r_i|`. HiGHS
    solves the programmes to rounding, one image after the other on the CPU.

    Args:
        model: The multi-label classifier, samples to logits ``[B, L]``; run in evaluation mode and left as it was.
        images: Clean samples.
        targets: Target states ``[B, L]``: 1 on, 0 off, NaN free. :func:`target_labels` makes them.
        norm: ``"linf"`` for the largest change of a value, ``"l1"`` for the sum of all.
        steps: Largest number of rounds; each costs a forward pass, a backward pass for each target label, and a
            programme for each image.
        overshoot: Share of a missing margin by which first steps go beyond it, in (0, 1); later rounds take it back.
        margin: Margin γ to the boundary, 0 or more, in logits.
        bounds: Smallest and largest value (a, b).

    Returns:
        Norms, samples and calls; infinite without a success or where no change within the bounds meets the linearised
        constraints, 0 where no label has a target or all targets hold already. On linear models they are at most a
        thousandth above the least, at the default overshoot; never below it.

    Raises:
        ValueError: If a setting is outside its range, or samples, targets or logits do not fit.

    References:
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (ML-LP); Huangfu and Hall,
        *Parallelizing the dual revised simplex method*, 2018 (HiGHS).

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> x = torch.full((1, 1, 2, 2), 0.5)
        >>> label_linear_programme(model, x, (model(x) > 0).float()).radii
        tensor([0.])
    """
    if norm not in ("l1", "linf"):
        raise ValueError(f'norm must be "l1" or "linf", got {norm!r}: for "l2" there is multi_label_deepfool')
    return least_change(
        model,
        images,
        targets,
        perturbations=PixelBall(norm, math.inf, bounds=bounds),
        solve=partial(_least, largest=norm == "linf"),
        norm=BALLS[norm](math.inf).norm,
        steps=steps,
        overshoot=overshoot,
        margin=margin,
    )


def _least(rows: Tensor, needed: Tensor, low: Offsets, high: Offsets, *, largest: bool) -> Offsets:
    """Solves the programme of each image; NaN where it has no solution."""
    parts = (part.cpu().double().numpy() for part in (rows, needed, low, high))
    solutions = [_programme(*problem, largest=largest) for problem in zip(*parts, strict=True)]
    return torch.as_tensor(np.array(solutions).reshape(low.shape), dtype=low.dtype, device=low.device)


def _programme(
    rows: NDArray[Any], needed: NDArray[Any], low: NDArray[Any], high: NDArray[Any], *, largest: bool
) -> NDArray[Any]:
    r"""Splits changes w into :math:`p - q` with both 0 or more, so that :math:`|w_i| = p_i + q_i`."""
    present, size = np.isfinite(needed), len(low)
    if not present.any():
        return np.zeros(size)
    scale = np.abs(rows[present]).max(1)  # HiGHS meets constraints to an absolute tolerance
    scale[scale == 0] = 1
    rows, needed = rows[present] / scale[:, None], needed[present] / scale
    pattern = sparse.csr_array(np.hstack([-rows, rows]))
    limits = np.concatenate([high, -low])
    if largest:
        one = sparse.eye_array(2 * size, format="csr")
        every = -np.ones((2 * size, 1))
        constraints = sparse.vstack([sparse.hstack([pattern, np.zeros((len(rows), 1))]), sparse.hstack([one, every])])
        right = np.concatenate([-needed, np.zeros(2 * size)])
        price, limits = np.append(np.zeros(2 * size), 1.0), np.append(limits, np.inf)
    else:
        constraints, right, price = pattern, -needed, np.ones(2 * size)
    x = optimize.linprog(price, constraints, right, bounds=np.stack([np.zeros_like(limits), limits], 1)).x
    return x[:size] - x[size : 2 * size] if x is not None else np.full(size, np.nan)
