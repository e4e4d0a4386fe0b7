"""Representations of adversaries at the layers of one network, described among those of natural images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from perturbsets._types import Images, Labels, PerImage
from perturbsets.adversaries.adversary import Adversary, AttackResult
from perturbsets.intervals import mean_interval
from perturbsets.layer_outputs import Activation, LayerOutputs, layer_names
from perturbsets.model_call import class_logits, preserve_state
from perturbsets.representations.bank import Bank
from perturbsets.representations.description import Description
from perturbsets.representations.distances import distance_ratio
from perturbsets.representations.guides import GuidedPairs
from perturbsets.representations.layer_metrics import Surroundings
from perturbsets.representations.outcomes import LabelOutcomes, label_outcomes, transfer

BATCH = 256  # images in one forward pass
TOGETHER = 64  # pairs attacked at once
SMALL = 1e-3  # least |value| for a relative gap, in squared distances of the source


class ProbeResult(NamedTuple):
    """Adversaries at one layer.

    Attributes:
        description: Their representations.
        outcomes: Their labels.
    """

    description: Description
    outcomes: LabelOutcomes

    def summary(self) -> dict[str, Any]:
        """Both as plain values."""
        return {**self.description.summary(), "labels": self.outcomes.summary()}


class LayerProbe:
    """A network and some of its layers.

    Args:
        model: The network.
        layers: Names or globs of layers.
        activation: Activation after the layers.
        natural: Features of natural images, for :meth:`guided` and :meth:`unguided`.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], activation: Activation = "relu", natural: Bank | None = None
    ) -> None:
        self.model, self.activation = model, activation
        self.layers = layer_names(model, layers)
        self.natural = {} if natural is None else {layer: Surroundings(natural, layer) for layer in self.layers}

    def features(self, images: Images, layer: str) -> Tensor:
        """Features of images at a layer, a row each."""
        outputs = LayerOutputs(self.model, [layer], activation=self.activation)
        with preserve_state(self.model, images.device), torch.no_grad():
            return torch.cat([outputs(part)[layer] for part in images.split(BATCH)])

    def predictions(self, images: Images) -> Labels:
        """Predicted classes."""
        with preserve_state(self.model, images.device), torch.no_grad():
            return torch.cat([class_logits(self.model, part).argmax(1) for part in images.split(BATCH)])

    def guided(self, layer: str, images: Images, pairs: GuidedPairs, own: Labels, **settings: Any) -> ProbeResult:
        """Describes adversaries whose target was their guide's representation.

        Args:
            layer: The layer.
            images: The adversaries.
            pairs: Their sources and guides.
            own: Row of each guide among the natural images, -1 for none.
            **settings: ``dimension`` of the tangents and ``generator``.
        """
        description = self.natural[layer].describe(
            self.features(images, layer),
            self.features(pairs.sources, layer),
            self.features(pairs.guides, layer),
            pairs.source_labels,
            pairs.guide_labels,
            exclude=own.to(images.device),
            groups=pairs.groups,
            **settings,
        )
        return ProbeResult(description, self.outcomes(images, pairs))

    def unguided(self, layer: str, images: Images, pairs: GuidedPairs, **settings: Any) -> ProbeResult:
        """Describes adversaries whose target was their guide's label, each against its nearest natural neighbour.

        Args:
            layer: The layer.
            images: The adversaries.
            pairs: Their sources, and the target labels.
            **settings: ``dimension`` of the tangents and ``generator``.
        """
        description = self.natural[layer].describe_alone(
            self.features(images, layer),
            self.features(pairs.sources, layer),
            pairs.source_labels,
            self.predictions(images),
            groups=pairs.groups,
            **settings,
        )
        return ProbeResult(description, self.outcomes(images, pairs))

    def outcomes(self, images: Images, pairs: GuidedPairs) -> LabelOutcomes:
        """Whether adversaries are predicted as their guide, as their source, or otherwise."""
        return label_outcomes(self.predictions(images), pairs.source_labels, pairs.guide_labels, pairs.groups)

    def success(self, layer: str, images: Images, pairs: GuidedPairs) -> dict[str, Any]:
        """Distance ratios of adversaries to their guides, and their labels, as plain values."""
        ratio = distance_ratio(*(self.features(some, layer) for some in (images, pairs.guides, pairs.sources)))
        interval = mean_interval(ratio.cpu().double(), pairs.groups)
        return {"ratio": interval._asdict(), "labels": self.outcomes(images, pairs).summary()}

    def transferred(self, layer: str, images: Images, pairs: GuidedPairs, first: LabelOutcomes) -> dict[str, Any]:
        """The same for adversaries of another network, with the share of their successes that transfer."""
        carried = transfer(first, self.outcomes(images, pairs)).summary()["carried"]
        return {**self.success(layer, images, pairs), "carried": carried}


class BatchResult(NamedTuple):
    """Results of an adversary for all pairs.

    Attributes:
        images: Its images.
        values: The objective there.
        bounds: Upper bounds of the objective in the set; infinite where none are proven.
    """

    images: Images
    values: PerImage
    bounds: PerImage

    @classmethod
    def of(
        cls, adversary: Adversary, model: nn.Module, sources: Images, targets: Tensor, generator: torch.Generator
    ) -> BatchResult:
        """Attacks some images at a time.

        Args:
            adversary: The adversary.
            model: The network.
            sources: Images to change.
            targets: Guides, or labels.
            generator: For all draws.
        """
        parts: list[AttackResult] = [
            adversary(model, some, target, generator=generator)
            for some, target in zip(sources.split(TOGETHER), targets.split(TOGETHER), strict=True)
        ]
        bounds = [torch.full_like(part.values, math.inf) if part.bounds is None else part.bounds for part in parts]
        images, values = ([getattr(part, name) for part in parts] for name in ("images", "values"))
        return cls(torch.cat(images), torch.cat(values), torch.cat(bounds))

    def gap(self) -> dict[str, float]:
        """The optimality gap, relative to the value where that is at least a thousandth."""
        gaps = ((self.bounds - self.values) / self.values.abs().clamp_min(SMALL)).cpu().double()
        return {"median": float(gaps.median()), "largest": float(gaps.max())}
