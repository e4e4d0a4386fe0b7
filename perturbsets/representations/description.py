"""What adversaries at one layer are like: a row of every measure for each pair, and their summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from perturbsets._types import Labels, PerImage
from perturbsets.intervals import mean_interval, share_interval
from perturbsets.representations.overlap import overlap_share

QUANTILES = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
NEAREST = 3  # neighbours that adversary and guide are compared by


@dataclass(frozen=True)
class Description:
    """What the representations of some adversaries at one layer are like, a row per pair.

    Attributes:
        ratio: Distance to the guide over the source's; ``None`` where there is no guide but a neighbour of its own.
        guide_ratio: Distance to the guide over that of nearest neighbours in its class.
        source_ratio: Distance to the source over that of two images of its class.
        shared: How many of the three nearest neighbours are those of the guide too.
        rank_change: By how many percentiles of the class it is more of an outlier than the guide.
        drop: Log-likelihood on the guide's tangent less the guide's, of the ``"adversary"`` [B, 1], of a ``"random"``
            point [B, 1] that is as far from the guide in a direction drawn at random, and of the guide's ``"close"``
            and ``"far"`` natural neighbours. Where features are far more than neighbours, it is mostly a distance:
            compare the first with the second.
        consistency: Angular consistency with the guide, likewise.
        sparsity_change: Share of active units less the source's.
        source_overlap: Active units in common with the source, of those active in either.
        guide_overlap: The same with the guide.
        dimension: Dimension of the tangents.
        held_out: Mean log-likelihood of left-out neighbours by guide and dimension, from 0 on; ``None`` where the
            dimension was given.
        groups: Number of each pair's independent unit; without them every pair is its own.
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
        """What has a row per pair, by name."""
        found = {
            name: value
            for name in ("ratio", "guide_ratio", "source_ratio", "shared", "rank_change", "sparsity_change")
            if (value := getattr(self, name)) is not None
        }
        for name in ("drop", "consistency"):
            found |= {f"{name}/{kind}": values for kind, values in getattr(self, name).items()}
        return found


def _quantiles(values: Tensor) -> dict[str, float]:
    """Median and the range of nine in ten."""
    low, middle, high = values.cpu().double().flatten().quantile(QUANTILES).tolist()
    return {"median": middle, "q05": low, "q95": high}
