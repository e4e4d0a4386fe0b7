"""All measures of adversaries at one layer, against the natural images around them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import Labels
from perturbsets.representations.bank import Bank
from perturbsets.representations.description import NEAREST, Description, neighbour_overlap
from perturbsets.representations.distances import (
    distance_ratio,
    nearest_distance,
    pair_distance,
    per_class,
    relative_distance,
)
from perturbsets.representations.in_class import member_distances, nearest_in_predicted_class, rank_in_class
from perturbsets.representations.neighbours import Neighbourhood, nearest_neighbours, neighbourhoods
from perturbsets.representations.tangent import DimensionChoice, ProbabilisticPCA, choose_dimension, likelihood_drop
from perturbsets.representations.units import active_overlap, angular_consistency, sparsity_change
from perturbsets.rows import named_rows
from perturbsets.sets.balls import random_directions

TOGETHER = 32  # pairs whose neighbourhoods are in memory at once
POINTS = ("adversary", "random", "close", "far")


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
            generator: For the split of neighbours and the random points.

        Raises:
            ValueError: If features do not fit the bank, it or one of the classes has too few images, or a layer is
                dead.
        """
        ratio = distance_ratio(adversary, guide, source)
        measured = self._measured(
            adversary, source, guide, source_classes, guide_classes, exclude, dimension, generator
        )
        return replace(measured, ratio=ratio, groups=groups)

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
        measured = self._measured(points, source, guide, source_classes, predictions, own, dimension, generator)
        return replace(measured, groups=groups)

    def _measured(
        self,
        points: Tensor,
        source: Tensor,
        guide: Tensor,
        source_classes: Labels,
        guide_classes: Labels,
        exclude: Labels | None,
        dimension: int | None,
        generator: torch.Generator | None,
    ) -> Description:
        """All measures but the distance ratio."""
        bank, layer = self.bank, self.layer
        dead = ~guide.any(1)
        if not len(points) or bool(dead.any()):
            got = f"guides that are dead in {named_rows(dead)}" if len(points) else "none"
            raise ValueError(
                f"pairs must be at least one, of guides with an active unit at {layer!r}, got {got}: leave these "
                "out, or take another layer"
            )
        members = {label: self._members(label) for label in guide_classes.unique().tolist()}
        near, ranks = [], []
        for some in (points, guide):
            near.append(nearest_neighbours(some, bank.blocks(layer), NEAREST, exclude=exclude).rows)
            ranks.append(rank_in_class(some, guide_classes, bank, layer, exclude=exclude, members=members))
        around = neighbourhoods(guide, bank, layer, exclude=exclude, generator=generator)
        held_out = None
        if dimension is None:
            dimension, held_out = self._dimension(around, guide)
        drop, consistency = self._tangents(points, guide, around, dimension, generator)
        return Description(
            ratio=None,
            guide_ratio=relative_distance(points, guide, per_class(self._nearest, guide_classes)),
            source_ratio=relative_distance(points, source, per_class(self._spread, source_classes)),
            shared=neighbour_overlap(near[0], near[1]),
            rank_change=ranks[0] - ranks[1],
            drop=drop,
            consistency=consistency,
            sparsity_change=sparsity_change(points, source),
            source_overlap=active_overlap(points, source),
            guide_overlap=active_overlap(points, guide),
            dimension=dimension,
            held_out=held_out,
        )

    def _dimension(self, around: Neighbourhood, guide: Tensor) -> DimensionChoice:
        """The dimension for all guides, chosen some guides at a time."""
        curves = [
            choose_dimension(self._natural(around.reference[rows], guide), guide[rows], scatter="mean").held_out
            for rows in torch.arange(len(guide)).split(TOGETHER)
        ]
        allowed = min(curve.shape[1] for curve in curves)
        held_out = torch.cat([curve[:, :allowed] for curve in curves])
        return DimensionChoice(int(held_out.mean(0)[1:].argmax()) + 1, held_out)

    def _tangents(
        self,
        points: Tensor,
        guide: Tensor,
        around: Neighbourhood,
        dimension: int,
        generator: torch.Generator | None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Likelihood and angles at points and at natural neighbours of their guides, some guides at a time."""
        random = _random_points(points, guide, generator)
        drop: dict[str, list[Tensor]] = {name: [] for name in POINTS}
        consistency: dict[str, list[Tensor]] = {name: [] for name in POINTS}
        for part in torch.arange(len(guide)).split(TOGETHER):
            reference, close, far = (self._natural(some[part], guide) for some in around)
            plane = ProbabilisticPCA.fit(reference, dimension, centre=guide[part], scatter="mean")
            every = (points[part, None], random[part, None], close, far)
            for name, some in zip(POINTS, every, strict=True):
                drop[name].append(likelihood_drop(plane, some, guide[part]))
                consistency[name].append(angular_consistency(some, guide[part], reference))
        return (
            {name: torch.cat(values) for name, values in drop.items()},
            {name: torch.cat(values) for name, values in consistency.items()},
        )

    def _natural(self, rows: Int64[Tensor, "B _"], like: Tensor) -> Tensor:
        return self.bank.features(self.layer, rows).to(like)


def _random_points(points: Tensor, guide: Tensor, generator: torch.Generator | None) -> Tensor:
    """Points as far from the guides as those given, in random directions."""
    return guide + (points - guide).norm(dim=1, keepdim=True) * random_directions(points, generator)
