"""All measures of adversaries at one layer, against the natural images around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from perturbsets._types import Labels, PerImage
from perturbsets.intervals import Interval, mean_interval, share_interval
from perturbsets.printing import Result
from perturbsets.representations.bank import Bank
from perturbsets.representations.distances import (
    distance_ratio,
    member_distances,
    nearest_distance,
    nearest_in_predicted_class,
    pair_distance,
    per_class,
    rank_in_class,
    relative_distance,
)
from perturbsets.representations.neighbours import Neighbourhood, nearest_neighbours, neighbourhoods
from perturbsets.representations.tangent import DimensionChoice, ProbabilisticPCA, choose_dimension, likelihood_drop
from perturbsets.representations.units import active_overlap, angular_consistency, sparsity_change
from perturbsets.rows import batches, named_rows
from perturbsets.sets.balls import random_directions

QUANTILES = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
NEAREST = 3  # neighbours by which adversary and guide are compared: Sabour et al., 2016, sec. 3
PER_PAIR = ("ratio", "guide_ratio", "source_ratio", "shared", "rank_change", "sparsity_change")
TOGETHER = 32  # pairs whose neighbourhoods are in memory at once
POINTS = ("adversary", "random", "close", "far")


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
        intervals = dict.fromkeys(("ratio", "guide_ratio", "source_ratio", "sparsity_change"), mean_interval)
        intervals |= dict.fromkeys(("source_overlap", "guide_overlap"), share_interval)  # type: ignore[arg-type]
        least = {"three": NEAREST, "two": NEAREST - 1}
        return {
            **{
                name: interval(value, self.groups)._asdict()
                for name, interval in intervals.items()
                if (value := getattr(self, name)) is not None
            },
            "neighbours": {name: overlap_share(self.shared, one, self.groups)._asdict() for name, one in least.items()},
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
        least: How many are needed.
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


class LayerMetrics:
    """Every measure of adversaries at one layer of a bank; what depends on classes alone is computed once.

    Args:
        bank: Natural images.
        layer: Layer of the bank.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> draw = torch.Generator().manual_seed(0)
        >>> features, labels = torch.rand(120, 30, generator=draw), torch.arange(120) % 2
        >>> metrics = LayerMetrics(MemoryBank({"fc": features[:100]}, labels[:100]), "fc")
        >>> guides, sources = features[100:110], features[110:]
        >>> half_way = (guides + sources) / 2
        >>> description = metrics.describe(half_way, sources, guides, labels[:10], labels[:10], generator=draw)
        >>> round(description.summary()["ratio"]["mean"], 3)
        0.5
    """

    def __init__(self, bank: Bank, layer: str) -> None:
        self.bank, self.layer = bank, layer
        self._nearest = cache(lambda label: nearest_distance(bank, layer, label))
        self._spread = cache(lambda label: pair_distance(bank, layer, label))
        self._members = cache(lambda label: member_distances(bank, layer, [label], NEAREST)[label])

    def describe(
        self,
        adversary: Float[Tensor, "B D"],
        source: Float[Tensor, "B D"],
        guide: Float[Tensor, "B D"],
        source_classes: Labels,
        guide_classes: Labels,
        *,
        exclude: Labels | None = None,
        dimension: int | None = None,
        groups: Labels | None = None,
        ratio: bool = True,
        generator: torch.Generator | None = None,
    ) -> Description:
        """Measures adversaries made to take the representations of guides.

        Args:
            adversary: Features of the adversaries.
            source: Features of their sources.
            guide: Features of their guides.
            source_classes: Classes of the sources.
            guide_classes: Classes of the guides.
            exclude: Row of each guide itself in the bank, -1 for none.
            dimension: Dimension of the tangents; chosen by held-out likelihood if not given.
            groups: Number of each pair's independent unit; by default every pair is its own.
            ratio: Whether to measure the distance ratio, for which sources must differ from guides.
            generator: For the split of neighbours and the random points.

        Raises:
            ValueError: If features do not fit the bank, it or one of the classes has too few images, or a layer is
                dead.
        """
        bank, layer = self.bank, self.layer
        ratios = distance_ratio(adversary, guide, source) if ratio else None
        dead = ~guide.any(1)
        if not len(adversary) or bool(dead.any()):
            got = f"guides that are dead in {named_rows(dead)}" if len(adversary) else "none"
            raise ValueError(
                f"pairs must be at least one, of guides with an active unit at {layer!r}, got {got}: leave these "
                "out, or take another layer"
            )
        members = {label: self._members(label) for label in guide_classes.unique().tolist()}
        near, ranks = [], []
        for some in (adversary, guide):
            near.append(nearest_neighbours(some, bank.blocks(layer), NEAREST, exclude=exclude).rows)
            ranks.append(rank_in_class(some, guide_classes, bank, layer, exclude=exclude, members=members))
        around = neighbourhoods(guide, bank, layer, exclude=exclude, generator=generator)
        held_out = None
        if dimension is None:
            dimension, held_out = self._dimension(around, guide)
        drop, consistency = self._tangents(adversary, guide, around, dimension, generator)
        return Description(
            ratio=ratios,
            guide_ratio=relative_distance(adversary, guide, per_class(self._nearest, guide_classes)),
            source_ratio=relative_distance(adversary, source, per_class(self._spread, source_classes)),
            shared=neighbour_overlap(*near),
            rank_change=ranks[0] - ranks[1],
            drop=drop,
            consistency=consistency,
            sparsity_change=sparsity_change(adversary, source),
            source_overlap=active_overlap(adversary, source),
            guide_overlap=active_overlap(adversary, guide),
            dimension=dimension,
            held_out=held_out,
            groups=groups,
        )

    def describe_alone(
        self,
        points: Float[Tensor, "B D"],
        source: Float[Tensor, "B D"],
        source_classes: Labels,
        predictions: Labels,
        *,
        dimension: int | None = None,
        groups: Labels | None = None,
        generator: torch.Generator | None = None,
    ) -> Description:
        """Measures points without a guide, against their nearest natural neighbour in their predicted class.

        Points are features of adversaries of labels, or of any images; those without a source are their own. The
        neighbour takes the place of the guide, without a distance ratio. All else is as for :meth:`describe`.
        """
        own = nearest_in_predicted_class(points, predictions, self.bank, self.layer)
        guide = self.bank.features(self.layer, own).to(points)
        settings: dict[str, Any] = {"dimension": dimension, "groups": groups, "generator": generator}
        return self.describe(points, source, guide, source_classes, predictions, exclude=own, ratio=False, **settings)

    def _dimension(self, around: Neighbourhood, guide: Tensor) -> DimensionChoice:
        """The dimension for all guides, chosen some guides at a time."""
        curves = [
            choose_dimension(self._natural(around.reference[rows], guide), guide[rows], scatter="mean").held_out
            for rows in batches(guide, TOGETHER)
        ]
        allowed = min(curve.shape[1] for curve in curves)
        held_out = torch.cat([curve[:, :allowed] for curve in curves])
        return DimensionChoice(int(held_out.mean(0)[1:].argmax()) + 1, held_out)

    def _tangents(
        self, points: Tensor, guide: Tensor, around: Neighbourhood, dimension: int, generator: torch.Generator | None
    ) -> list[dict[str, Tensor]]:
        """Likelihood and angles at points and at natural neighbours of their guides, some guides at a time."""
        random = _random_points(points, guide, generator)
        drop: dict[str, list[Tensor]] = {name: [] for name in POINTS}
        consistency: dict[str, list[Tensor]] = {name: [] for name in POINTS}
        for part in batches(guide, TOGETHER):
            reference, close, far = (self._natural(some[part], guide) for some in around)
            plane = ProbabilisticPCA.fit(reference, dimension, centre=guide[part], scatter="mean")
            every = (points[part, None], random[part, None], close, far)
            for name, some in zip(POINTS, every, strict=True):
                drop[name].append(likelihood_drop(plane, some, guide[part]))
                consistency[name].append(angular_consistency(some, guide[part], reference))
        return [{name: torch.cat(values) for name, values in each.items()} for each in (drop, consistency)]

    def _natural(self, rows: Int64[Tensor, "B _"], like: Tensor) -> Tensor:
        return self.bank.features(self.layer, rows).to(like)


def _random_points(points: Tensor, guide: Tensor, generator: torch.Generator | None) -> Tensor:
    """Points as far from the guides as those given, in random directions."""
    return guide + (points - guide).norm(dim=1, keepdim=True) * random_directions(points, generator)
