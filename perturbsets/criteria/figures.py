"""Means, ratios and quantiles with intervals over sources, as plain values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from perturbsets._types import OneOrEach, PerImage
from perturbsets.intervals import mean_interval
from perturbsets.printing import Printed
from perturbsets.rows import one_number

Figure = dict[str, float | None]


def figure(values: Tensor, source: Tensor, over: Tensor | None = None) -> Figure:
    r"""A mean, or a ratio of means, with its interval at 95 % over sources.

    .. math:: \frac{\sum_i v_i}{\sum_i w_i}

    Values v and denominators w, ones if not given, are one per pair. ``mean``, ``low`` and ``high`` are ``None`` where
    the denominator is 0, and the interval where :func:`perturbsets.intervals.mean_interval` gives none.

    Example:
        >>> import torch
        >>> figure(torch.ones(3), torch.tensor([0, 0, 1]), over=torch.full((3,), 4.0))
        {'mean': 0.25, 'low': None, 'high': None}
    """
    if over is not None and not float(over.cpu().double().sum()) > 0:
        return {"mean": None, "low": None, "high": None}
    return mean_interval(values, source, over=over)._asdict()


def holding(values: Tensor, share: float) -> float:
    r"""The smallest value that at least a share q in (0, 1] of n do not exceed: :math:`v_{(\lceil qn \rceil)}`.

    Example:
        >>> import torch
        >>> holding(torch.arange(1.0, 11), 0.95), holding(torch.arange(1.0, 11), 0.9)
        (10.0, 9.0)
    """
    return float(np.quantile(values.cpu().double().numpy(), share, method="inverted_cdf"))


def spread(values: Tensor) -> Figure:
    """Median, 95 % quantile and maximum."""
    values = values.cpu().double()
    return {"median": float(values.median()), "q95": holding(values, 0.95), "max": float(values.max())}


def named(figures: Figure, name: str) -> Figure:
    """A figure with prefixed keys: ``{NAME, NAME_low, NAME_high}``."""
    return {name: figures["mean"], f"{name}_low": figures["low"], f"{name}_high": figures["high"]}


@dataclass(frozen=True)
class NecessaryCurve(Printed):
    """Errors of the nearest members found at several radii; no pair's error rises with the radius.

    Attributes:
        radii: The radii, rising, in prior standard deviations.
        search: Errors on matched pairs ``[R, N]``.
        mismatched_search: Errors on mismatched pairs.
    """

    radii: tuple[float, ...]
    search: Float[Tensor, "R N"]
    mismatched_search: Float[Tensor, "R N"]

    def summary(self, identity: PerImage, mismatched_identity: PerImage, source: Tensor) -> list[dict[str, Any]]:
        """Means per radius, and shares of the identity errors, with intervals over sources."""

        def entry(errors: PerImage, over: PerImage) -> Figure:
            return {**figure(errors, source), **named(figure(errors, source, over), "share")}

        return [
            {
                "radius": radius,
                "search": entry(matched, identity),
                "mismatched_search": entry(mismatched, mismatched_identity),
            }
            for radius, matched, mismatched in zip(self.radii, self.search, self.mismatched_search, strict=True)
        ]


def curve_radii(radius: OneOrEach, shares: Sequence[float]) -> tuple[tuple[float, ...], int]:
    """Rising radii of a curve, given as shares of the set's own finite one, and the position of the latter.

    Example:
        >>> curve_radii(4.0, (0.5, 2.0))
        ((2.0, 4.0, 8.0), 1)
    """
    size = one_number(radius, "radius")
    if not math.isfinite(size):
        raise ValueError(
            "perturbations must have one finite radius, got inf: `radius_from_pairs(model, pairs)` measures one"
        )
    every = sorted({1.0, *map(float, shares)})
    return tuple(share * size for share in every), every.index(1.0)


def check_shares(shares: Sequence[float]) -> None:
    """Refuses shares that are not above 0, finite and rising."""
    if not all(0 < share < math.inf for share in shares):  # NaN fails too
        raise ValueError(
            f"curve must hold shares of the set's radius above 0 and finite, got {list(shares)}: for example (0.5, 2.0)"
        )
    if not all(low < high for low, high in itertools.pairwise(shares)):
        raise ValueError(f"curve must rise, got {list(shares)}: sort the shares, each once")
