"""Every measure of adversaries at one layer, a row per pair, and their summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from perturbsets._types import Labels, PerImage
from perturbsets.intervals import Interval, mean_interval, share_interval
from perturbsets.printing import Result

QUANTILES = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
NEAREST = 3  # neighbours by which adversary and guide are compared: Sabour et al., 2016, sec. 3
PER_PAIR = ("ratio", "guide_ratio", "source_ratio", "shared", "rank_change", "sparsity_change")


@dataclass(frozen=True)
class Description(Result):
    """All measures of the representations of some adversaries at one layer, a row per pair.

    Attributes:
        ratio: Distance to the guide over the source's; ``None`` without a guide.
        guide_ratio: Distance to the guide over that of nearest neighbours in its class.
        source_ratio: Distance to the source over that of two images of its class.
        shared: How many of the three nearest neighbours are also the guide's.
        rank_change: By how many percentiles of the class it is more of an outlier than the guide.
        drop: Log-likelihood on the guide's tangent less the guide's: of the ``"adversary"`` [B, 1], of a ``"random"``
            point [B, 1] at the same distance from the guide in a random direction, and of the guide's ``"close"`` and
            ``"far"`` natural neighbours. With far more features than neighbours it is mostly a distance: compare the
            first two.
        consistency: Angular consistency with the guide, likewise.
        sparsity_change: Share of active units less the source's.
        source_overlap: Share of the units active in adversary or source that are active in both.
        guide_overlap: The same with the guide.
        dimension: Dimension of the tangents.
        held_out: Mean log-likelihood of left-out neighbours by guide and dimension, from 0 on; ``None`` where the
            dimension was given.
        groups: Number of each pair's independent unit; by default every pair is its own.
    """

    ratio: PerImage | None
    guide_ratio: PerImage
    source_ratio: PerImage
    shared: Labels
    rank_change: PerImage
    drop: Mapping[str, Float64[Tensor, "B _"]]
    consistency: Mapping[str, Float64[Tensor, "B _"]]
    sparsity_change: PerImage
    source_overlap: PerImage
    guide_overlap: PerImage
    dimension: int
    held_out: Float64[Tensor, "B dimensions"] | None
    groups: Tensor | None = None

    def summary(self) -> dict[str, Any]:
        """Means and shares with intervals over independent units, and quantiles, as plain values."""
        means = {
            name: interval(value, self.groups)._asdict()
            for name, interval in (
                ("ratio", mean_interval),
                ("guide_ratio", mean_interval),
                ("source_ratio", mean_interval),
                ("sparsity_change", mean_interval),
                ("source_overlap", share_interval),
                ("guide_overlap", share_interval),
            )
            if (value := getattr(self, name)) is not None
        }
        return {
            **means,
            "neighbours": {
                "three": overlap_share(self.shared, NEAREST, self.groups)._asdict(),
                "two": overlap_share(self.shared, NEAREST - 1, self.groups)._asdict(),
            },
            "rank_change": _quantiles(self.rank_change),
            "drop": {name: _quantiles(values) for name, values in self.drop.items()},
            "consistency": {name: _quantiles(values) for name, values in self.consistency.items()},
            "dimension": self.dimension,
            **({} if self.held_out is None else {"held_out": self.held_out.mean(0).tolist()}),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The measures that have a row per pair, by name."""
        tensors = {name: value for name in PER_PAIR if (value := getattr(self, name)) is not None}
        for name in ("drop", "consistency"):
            tensors |= {f"{name}/{kind}": values for kind, values in getattr(self, name).items()}
        return tensors


def _quantiles(values: Tensor) -> dict[str, float]:
    low, middle, high = values.cpu().double().flatten().quantile(QUANTILES).tolist()
    return {"median": middle, "q05": low, "q95": high}


def neighbour_overlap(first: Int64[Tensor, "B K"], second: Int64[Tensor, "_ _"]) -> Labels:
    r"""How many neighbours two points have in common.

    .. math:: |N_K(\alpha) \cap N_K(g)|

    Both searches must leave out the guide itself, which would otherwise be a neighbour of one only.

    Args:
        first: Rows of the neighbours of one point, such as the adversary, from :func:`nearest_neighbours`.
        second: Rows of those of the other, such as the guide.

    Returns:
        One count per pair of points, from 0 to K.

    Raises:
        ValueError: If the shapes differ, or a row comes twice for one point.

    Example:
        >>> neighbour_overlap(torch.tensor([[4, 8, 2], [1, 2, 3]]), torch.tensor([[2, 7, 4], [9, 8, 7]])).tolist()
        [2, 0]
    """
    if first.shape != second.shape:
        raise ValueError(f"first and second must be of one shape, got {list(first.shape)} and {list(second.shape)}")
    for name, rows in (("first", first), ("second", second)):
        if bool((rows.sort(1).values.diff(dim=1) == 0).any()):
            raise ValueError(f"{name} must hold different rows for each point, got one twice")
    return (first[:, :, None] == second[:, None, :]).sum((1, 2))


def overlap_share(counts: Labels, least: int, groups: Tensor | None = None) -> Interval:
    """Share of pairs with at least so many common neighbours, with its interval at 95 %.

    Args:
        counts: Common neighbours of each pair, from :func:`neighbour_overlap`.
        least: How many are needed; of three neighbours, 3 asks for all and 2 for at least two.
        groups: Number of each pair's independent unit; by default every pair is its own.

    Raises:
        ValueError: If there are no pairs.

    Example:
        >>> round(overlap_share(torch.tensor([3, 2, 1, 3]), least=2).mean, 2)
        0.75
    """
    if not len(counts):
        raise ValueError("counts must hold at least one pair, got none")
    return share_interval(counts >= least, groups)
