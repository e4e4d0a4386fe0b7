"""The rule for values outside of their range: rounding errors are clamped, larger deviations are refused."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Tolerance in units in the last place at the larger bound: torchvision's resizing of white photographs overshoots by up
# to 5 of them, its blurs and affine maps by up to 3.
ROUNDING = 8


def in_range(
    values: Tensor, bounds: tuple[float, float] = (0.0, 1.0), *, normalized: str, name: str = "images"
) -> Tensor:
    r"""Checks that values are within bounds :math:`[a, b]`, and clamps rounding errors.

    Values up to :math:`8\,\epsilon \max(|a|, |b|)` outside count as rounding, with :math:`\epsilon` the precision of
    their type: 9.5e-7 for [0, 1] in float32. Infinite bounds are left out of the maximum. Gradients pass a clamped copy
    unchanged. `normalized` is the advice for values that were normalised.

    Raises:
        ValueError: If a value is further outside, or NaN.

    Example:
        >>> in_range(torch.tensor([0.5, 1.0000002]), normalized="do not normalise").tolist()
        [0.5, 1.0]
    """
    if not values.numel():
        return values
    low, high = bounds
    smallest, largest = (float(end) for end in torch.aminmax(values.detach()))
    farthest = max((abs(bound) for bound in bounds if math.isfinite(bound)), default=0.0)
    slack = ROUNDING * torch.finfo(values.dtype).eps * farthest
    if not (low - slack <= smallest and largest <= high + slack):  # NaN fails too
        outside = [f"{low - smallest:.2g} below {low:g}"] if smallest < low else []
        outside += [f"{largest - high:.2g} above {high:g}"] if largest > high else []
        raise ValueError(
            f"{name} must lie within [{low:g}, {high:g}], got {smallest:.8g} to {largest:.8g}"
            + (f" ({', '.join(outside)})" if outside else "")
            + f": {_advice(name, bounds, (smallest, largest), normalized)}"
        )
    if smallest >= low and largest <= high:
        return values
    return values + (values.detach().clamp(low, high) - values.detach())


def _advice(name: str, bounds: tuple[float, float], extremes: tuple[float, float], normalized: str) -> str:
    """What to write instead."""
    (low, high), (smallest, largest) = bounds, extremes
    if smallest != smallest or largest != largest:
        return f"NaN is no pixel value; `~{name}.isfinite()` shows where it is"
    if bounds == (0, 1) and smallest >= 0 and 2 < largest <= 255:
        return f"give `{name} / 255` if 255 is white"
    if max(low - smallest, largest - high) <= 0.25 * (high - low) < math.inf:
        return f"`{name}.clamp({low:g}, {high:g})` cuts what an interpolation overshot"
    return normalized
