"""The same distance to a guide's representation in a network made linear at the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.layer_outputs import Activation, Features, LayerOutputs, check_activation
from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.feature_distance import Guides, guided, listen


class Tangent:
    r"""Layers as linear functions of the change of an image, :math:`\phi(s) + J u`, from one pass at the source.

    The product with J is the derivative, in v, of the product :math:`J^\top v`: both come from the graph of that pass,
    and no forward derivative is asked for.

    Args:
        outputs: The layers.
        sources: Where they are made linear.

    Attributes:
        features: The representations of the sources, by layer.
    """

    def __init__(self, outputs: LayerOutputs, sources: Samples) -> None:
        def features(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(outputs(images).values())

        self.sources = sources.detach()
        there: Any = torch.func.vjp(features, self.sources)
        here, self.pull = there
        zeros = [torch.zeros_like(each) for each in here]
        back: Any = torch.func.vjp(lambda *weights: self.pull(weights)[0], *zeros)
        self.push = back[1]
        self.features: dict[str, Features] = dict(zip(outputs.names, (each.detach() for each in here), strict=True))

    def __call__(self, images: Samples) -> dict[str, Features]:
        """The linear functions at images; differentiable."""
        moved = _Product.apply(images - self.sources, self.push, self.pull)
        return {name: each + move for (name, each), move in zip(self.features.items(), moved, strict=True)}


class _Product(torch.autograd.Function):
    """The product of J with a change; backward, that of its transpose."""

    @staticmethod
    def forward(context: Any, change: Tensor, push: Any, pull: Any) -> tuple[Tensor, ...]:
        context.pull = pull
        moved: tuple[Tensor, ...] = push(change)
        return moved

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return context.pull(gradients)[0], None, None


class LinearFeatureLoss(Loss):
    """Minus the relative squared distance of linear representations to the guides'.

    Args:
        outputs: The layers of the model.
        tangent: They, made linear.
        guides: What to come near to.
    """

    calls = 2

    def __init__(self, outputs: LayerOutputs, tangent: Tangent, guides: Guides) -> None:
        self.outputs, self.tangent, self.guides = outputs, tangent, guides

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        squared = self.guides.squared_distance(self.tangent(images))
        return -squared, torch.zeros_like(squared, dtype=torch.bool)

    def keep(self, rows: Rows) -> LinearFeatureLoss:
        tangent = Tangent(self.outputs, self.tangent.sources[rows])
        return LinearFeatureLoss(self.outputs, tangent, self.guides.keep(rows))


@dataclass(frozen=True)
class LinearFeatureDistance(Objective):
    r"""The distance to a guide's representation, relative to the source's, in the network made linear at the source.

    .. math:: \ell(x', g) = -\frac1K \sum_{k=1}^K
        \frac{\|\phi_k(s) + J_k (x' - s) - \phi_k(g)\|^2}{\|\phi_k(s) - \phi_k(g)\|^2}

    with :math:`J_k` the derivative of layer k at the source s. It is concave, so that its highest point in a box is
    known to any accuracy (:class:`~perturbsets.AcceleratedGradient`). Had the network been linear, this were
    :class:`~perturbsets.FeatureDistance`; how near the true representation comes tells how linear it is. The network
    is made linear at binding; of the calls that an adversary counts, those after the first two are passes of the
    linear function, each worth about one pass of the network and back.

    Args:
        layers: As for :class:`~perturbsets.FeatureDistance`.
        activation: Likewise.

    Raises:
        ValueError: If the activation is unknown.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.3
        (feature-linear).
    """

    layers: str | Sequence[str]
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_activation(self.activation)

    def at(self, model: Model | None, images: Samples, labels: Tensor) -> LinearFeatureLoss:
        """Binds to a model, source images and, in the place of labels, guide images.

        Raises:
            ValueError: If guides do not fit the sources, or have the same representation, or a layer is dead.
        """
        outputs = listen(model, images, labels, self.layers, self.activation)
        tangent = Tangent(outputs, images)
        return LinearFeatureLoss(outputs, tangent, guided(outputs, tangent.features, labels.to(images)))
