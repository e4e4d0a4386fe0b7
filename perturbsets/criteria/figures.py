"""Figures with intervals over sources, as plain values: None where the data cannot say."""

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
from perturbsets.rows import one_number

Figure = dict[str, float | None]


def figure(values: Tensor, source: Tensor, over: Tensor | None = None) -> Figure:
    r"""A mean, or a ratio of means, with its interval at 95 % over sources.

    .. math:: \frac{\sum_i v_i}{\sum_i w_i}

    Args:
        values: One number per pair :math:`v`.
        source: Source of each pair; pairs of one source are not independent.
        over: Denominators :math:`w`; ones if not given.

    Returns:
        ``mean``, ``low`` and ``high``. All are ``None`` where there is nothing to divide by, and the interval where
        :func:`perturbsets.mean_interval` gives none: below 5 sources, they do not tell what others would give.

    Example:
        >>> import torch
        >>> source = torch.tensor([0, 0, 1])
        >>> figure(torch.ones(3), source, over=torch.full((3,), 4.0))
        {'mean': 0.25, 'low': None, 'high': None}
        >>> figure(torch.ones(3), source, over=torch.zeros(3))
        {'mean': None, 'low': None, 'high': None}
    """
    if over is not None and not float(over.cpu().double().sum()) > 0:
        return {"mean": None, "low": None, "high": None}
    return mean_interval(values, source, over=over)._asdict()


def holding(values: Tensor, share: float) -> float:
    r"""The smallest of some values that a share of them does not exceed.

    .. math:: v_{(k)}, \qquad k = \lceil q\, n \rceil

    An order statistic, since between two values lies a smaller share than asked for.

    Args:
        values: At least one value.
        share: Share q in (0, 1].

    Example:
        >>> import torch
        >>> holding(torch.arange(1.0, 11), 0.95), holding(torch.arange(1.0, 11), 0.9)
        (10.0, 9.0)
    """
    return float(np.quantile(values.cpu().double().numpy(), share, method="inverted_cdf"))


def spread(values: Tensor) -> Figure:
    """Median of some values, the smallest that 95 % of them do not exceed, and the largest."""
    values = values.cpu().double()
    return {
        "median": float(values.median()),
        "q95": holding(values, 0.95),
        "max": float(values.max()),
    }


def named(figures: Figure, name: str) -> Figure:
    """A figure under another name: ``{NAME, NAME_low, NAME_high}``, so that several fit into one entry."""
    return {name: figures["mean"], f"{name}_low": figures["low"], f"{name}_high": figures["high"]}


# The necessary subset property over radii: what a smaller ball would leave, and what a larger one would hold.


@dataclass(frozen=True)
class NecessaryCurve:
    """Errors of the nearest members found, radius by radius; no pair's error rises with the radius.

    Attributes:
        radii: The radii, rising, in prior standard deviations.
        search: Errors on matched pairs ``[R, N]``.
        mismatched_search: Errors on mismatched pairs.
    """

    radii: tuple[float, ...]
    search: Float[Tensor, "R N"]
    mismatched_search: Float[Tensor, "R N"]

    def summary(self, identity: PerImage, mismatched_identity: PerImage, source: Tensor) -> list[dict[str, Any]]:
        """One entry per radius: means, and shares of the identity errors, with intervals over sources.

        Args:
            identity: Identity errors of the matched pairs.
            mismatched_identity: Those of the mismatched ones.
            source: Source of each pair.
        """
        return [
            {
                "radius": radius,
                "search": {**figure(matched, source), **named(figure(matched, source, identity), "share")},
                "mismatched_search": {
                    **figure(mismatched, source),
                    **named(figure(mismatched, source, mismatched_identity), "share"),
                },
            }
            for radius, matched, mismatched in zip(self.radii, self.search, self.mismatched_search, strict=True)
        ]


def curve_radii(radius: OneOrEach, shares: Sequence[float]) -> tuple[tuple[float, ...], int]:
    """Radii of a curve from shares of a set's own, which is always one of them.

    Args:
        radius: The set's own radius.
        shares: Shares of it, checked by :func:`check_shares`.

    Returns:
        The radii, rising, and the position of the set's own.

    Raises:
        ValueError: If the radius is not one finite number.

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
    """Refuses shares that make no curve.

    Raises:
        ValueError: If one is not above 0 and finite, or they do not rise.
    """
    if not all(0 < share < math.inf for share in shares):  # NaN fails too
        raise ValueError(
            f"curve must hold shares of the set's radius above 0 and finite, got {list(shares)}: for example (0.5, 2.0)"
        )
    if not all(low < high for low, high in itertools.pairwise(shares)):
        raise ValueError(f"curve must rise, got {list(shares)}: sort the shares, each once")
