"""A network whose layers are looked at, and the natural images among which points in them are described."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from perturbsets._types import Images, Labels, PerImage
from perturbsets.adversaries.adversary import AttackResult
from perturbsets.intervals import mean_interval
from perturbsets.layer_outputs import Activation, LayerOutputs, layer_names
from perturbsets.model_call import class_logits, preserve_state
from perturbsets.representations import (
    Bank,
    Description,
    GuidedPairs,
    LabelOutcomes,
    LayerMetrics,
    distance_ratio,
    label_outcomes,
    transfer,
)

BATCH = 256  # images in one pass
SMALL = 1e-3  # squared distance, of the source's, below which a gap is counted as a share of this


class Looked(NamedTuple):
    """What was found of some adversaries at one layer.

    Attributes:
        description: Their representations.
        outcomes: Their labels.
    """

    description: Description
    outcomes: LabelOutcomes

    def summary(self) -> dict[str, Any]:
        """Both as plain values."""
        return {**self.description.summary(), "labels": self.outcomes.summary()}


class Look:
    """A network and its layers, perhaps with what these make of natural images.

    Args:
        model: The network.
        layers: Names or globs of layers.
        activation: Whether representations are taken behind a ReLU.
        natural: Features of natural images, among which points are described.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], activation: Activation, natural: Bank | None = None
    ) -> None:
        self.model, self.activation = model, activation
        self.layers = layer_names(model, layers)
        self.natural = {} if natural is None else {layer: LayerMetrics(natural, layer) for layer in self.layers}

    def features(self, images: Images, layer: str) -> Tensor:
        """What a layer makes of images, a row each."""
        outputs = LayerOutputs(self.model, [layer], activation=self.activation)
        with preserve_state(self.model, images.device), torch.no_grad():
            return torch.cat([outputs(part)[layer] for part in images.split(BATCH)])

    def predictions(self, images: Images) -> Labels:
        """The classes that the network takes images for."""
        with preserve_state(self.model, images.device), torch.no_grad():
            return torch.cat([class_logits(self.model, part).argmax(1) for part in images.split(BATCH)])

    def guided(self, layer: str, images: Images, pairs: GuidedPairs, own: Labels, **how: Any) -> Looked:
        """Describes adversaries that were to take their guides' representations.

        Args:
            layer: The layer.
            images: The adversaries.
            pairs: Their sources and guides.
            own: Row of each guide among the natural images, -1 for none.
            **how: Dimension of the tangents and generator.
        """
        found = self.natural[layer].describe(
            self.features(images, layer),
            self.features(pairs.sources, layer),
            self.features(pairs.guides, layer),
            pairs.source_labels,
            pairs.guide_labels,
            exclude=own.to(images.device),
            groups=pairs.groups,
            **how,
        )
        return Looked(found, self.outcomes(images, pairs))

    def alone(self, layer: str, images: Images, pairs: GuidedPairs, **how: Any) -> Looked:
        """Describes adversaries that were to take their guides' labels, each against a neighbour of its own.

        Args:
            layer: The layer.
            images: The adversaries.
            pairs: Their sources, and the labels wanted.
            **how: Dimension of the tangents and generator.
        """
        found = self.natural[layer].describe_alone(
            self.features(images, layer),
            self.features(pairs.sources, layer),
            pairs.source_labels,
            self.predictions(images),
            groups=pairs.groups,
            **how,
        )
        return Looked(found, self.outcomes(images, pairs))

    def outcomes(self, images: Images, pairs: GuidedPairs) -> LabelOutcomes:
        """Whose labels adversaries get."""
        return label_outcomes(self.predictions(images), pairs.source_labels, pairs.guide_labels, pairs.groups)

    def success(self, layer: str, images: Images, pairs: GuidedPairs) -> dict[str, Any]:
        """How near adversaries come to their guides, and whose labels they get, as plain values."""
        points = [self.features(some, layer) for some in (images, pairs.guides, pairs.sources)]
        ratio = distance_ratio(*points).cpu().double()
        return {"ratio": mean_interval(ratio, pairs.groups)._asdict(), "labels": self.outcomes(images, pairs).summary()}

    def carried(self, layer: str, images: Images, pairs: GuidedPairs, first: LabelOutcomes) -> dict[str, Any]:
        """The same for adversaries of another network, with the share of their successes that carries over."""
        return {
            **self.success(layer, images, pairs),
            "carried": transfer(first, self.outcomes(images, pairs)).summary()["carried"],
        }


class Solved(NamedTuple):
    """What an adversary found for all pairs.

    Attributes:
        images: Its images.
        values: The objective there.
        bounds: Values that no point of the set exceeds; infinite where none are proven.
    """

    images: Images
    values: PerImage
    bounds: PerImage

    @classmethod
    def of(cls, parts: Sequence[AttackResult]) -> Solved:
        """Some pairs after the other."""
        bounds = [torch.full_like(part.loss, math.inf) if part.bounds is None else part.bounds for part in parts]
        return cls(
            torch.cat([part.images for part in parts]), torch.cat([part.loss for part in parts]), torch.cat(bounds)
        )

    def gap(self) -> dict[str, float]:
        """How much higher the best value may be: as a share of the value, where that is no less than a thousandth."""
        share = ((self.bounds - self.values) / self.values.abs().clamp_min(SMALL)).cpu().double()
        return {"median": float(share.median()), "largest": float(share.max())}
