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
from perturbsets.representations.distances import distance_ratio
from perturbsets.representations.guides import GuidedPairs
from perturbsets.representations.layer_metrics import Description, LayerMetrics
from perturbsets.representations.outcomes import LabelOutcomes, label_outcomes, transfer

BATCH = 256  # images in one forward pass
TOGETHER = 64  # pairs attacked at once
SMALL = 1e-3  # least |loss| for a relative gap, in squared distances of the source


class ProbeResult(NamedTuple):
    """What adversaries at one layer have as representations and as labels."""

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
        self.natural = {} if natural is None else {layer: LayerMetrics(natural, layer) for layer in self.layers}

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

        The row of each guide among the natural images is its own, -1 for none; settings are the ``dimension`` of the
        tangents and the ``generator``.
        """
        adversary, source, guide = (self.features(some, layer) for some in (images, pairs.sources, pairs.guides))
        settings |= {"exclude": own.to(images.device), "groups": pairs.groups}
        description = self.natural[layer].describe(
            adversary, source, guide, pairs.source_labels, pairs.guide_labels, **settings
        )
        return ProbeResult(description, self.outcomes(images, pairs))

    def unguided(self, layer: str, images: Images, pairs: GuidedPairs, **settings: Any) -> ProbeResult:
        """Describes adversaries whose target was their guide's label, each against its nearest natural neighbour."""
        adversary, source = (self.features(some, layer) for some in (images, pairs.sources))
        description = self.natural[layer].describe_alone(
            adversary, source, pairs.source_labels, self.predictions(images), groups=pairs.groups, **settings
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
    """Images and losses of an adversary for all pairs, and bounds of the losses: infinite where none are proven."""

    images: Images
    loss: PerImage
    bounds: PerImage

    @classmethod
    def of(
        cls, adversary: Adversary, model: nn.Module, sources: Images, targets: Tensor, generator: torch.Generator
    ) -> BatchResult:
        """Attacks some images at a time, towards guides or labels."""
        parts: list[AttackResult] = [
            adversary(model, some, target, generator=generator)
            for some, target in zip(sources.split(TOGETHER), targets.split(TOGETHER), strict=True)
        ]
        bounds = [torch.full_like(part.loss, math.inf) if part.bounds is None else part.bounds for part in parts]
        images, loss = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "loss"))
        return cls(images, loss, torch.cat(bounds))

    def gap(self) -> dict[str, float]:
        """The optimality gap, relative to the loss where that is at least a thousandth."""
        gaps = ((self.bounds - self.loss) / self.loss.abs().clamp_min(SMALL)).cpu().double()
        return {"median": float(gaps.median()), "largest": float(gaps.max())}
