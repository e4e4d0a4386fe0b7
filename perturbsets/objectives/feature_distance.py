"""Distance of inner representations to those of a guide image: the objective of feature adversaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.layer_outputs import Activation, Features, LayerOutputs
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import check_choice, named_rows, take_rows

ROUNDING = 1e-4  # by which a guide may leave [0, 1]


class Guides:
    r"""Representations of guides, and the unit in which distances to them are measured.

    .. math:: d^2(z) = \frac1K \sum_k \frac{\|z_k - \phi_k(g)\|^2}{\|\phi_k(s) - \phi_k(g)\|^2}

    with the ``features`` of the guides by layer, and as ``units`` the sources' squared distances from them.
    """

    def __init__(self, features: Mapping[str, Features], units: Mapping[str, PerImage]) -> None:
        self.features, self.units = features, units

    def squared_distance(self, features: Mapping[str, Features]) -> PerImage:
        """The squared distance of representations, relative to that of the sources."""
        each = [square(features[name], self.features[name]) / self.units[name] for name in self.features]
        return torch.stack(each).mean(0)

    def select(self, rows: Rows) -> Guides:
        """Those of some of the images."""
        return Guides(take_rows(self.features, rows), take_rows(self.units, rows))


class FeatureLoss(Loss):
    """Minus the relative squared distance to the guides' representations, in the layers or in their tangent.

    A distance of at most ``ratio``, as a share of the sources', counts as success; none does if that is negative.
    """

    calls = 2

    def __init__(self, outputs: LayerOutputs | Tangent, guides: Guides, ratio: float = -1.0) -> None:
        self.outputs, self.guides, self.ratio = outputs, guides, ratio

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        squared = self.guides.squared_distance(self.outputs(images))
        return -squared, squared.detach().sqrt() <= self.ratio

    def select(self, rows: Rows) -> FeatureLoss:
        outputs = self.outputs.select(rows) if isinstance(self.outputs, Tangent) else self.outputs
        return FeatureLoss(outputs, self.guides.select(rows), self.ratio)


@dataclass(frozen=True)
class FeatureDistance(Objective):
    r"""Minus the squared distance between a representation and that of a guide image, relative to the source's.

    .. math:: \ell(x', g) = -\frac1K \sum_{k=1}^K
        \frac{\|\phi_k(x') - \phi_k(g)\|^2}{\|\phi_k(s) - \phi_k(g)\|^2}

    with :math:`\phi_k` the output of layer k (:class:`~perturbsets.LayerOutputs`), s the source and g the guide. The
    value is -1 at the source and 0 where the representation is the guide's. Several layers have equal weight.

    Args:
        layers: Names or globs of layers, as for :func:`~perturbsets.layer_names`.
        activation: ``"relu"`` or ``"none"``, as for :class:`~perturbsets.LayerOutputs`.
        ratio: The attack succeeds where :math:`\sqrt{-\ell}` is at most that; without it, never.

    Raises:
        ValueError: If the activation is unknown, or the ratio is negative or NaN.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, eq. 1.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> sources, guides = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2)
        >>> loss = FeatureDistance("1", activation="none").at(model, sources, guides)
        >>> loss(sources, sources.flatten(1))[0].round(decimals=4)
        tensor([-1., -1., -1., -1., -1.], grad_fn=<RoundBackward1>)
    """

    layers: str | Sequence[str]
    _: KW_ONLY
    activation: Activation = "relu"
    ratio: float | None = None

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, Activation)
        if self.ratio is not None and not self.ratio >= 0:  # NaN fails too
            raise ValueError(f"ratio must be 0 or more, got {self.ratio}: it is a share of the source's distance")

    def at(self, model: Model | None, images: Samples, labels: Tensor) -> FeatureLoss:
        """Binds to a network, sources and, in the place of labels, guides, whose representations must differ."""
        outputs = listen(model, images, labels, self.layers, self.activation)
        with torch.no_grad():
            sources = outputs(images)
        guides = guided(outputs, sources, labels.to(images))
        return FeatureLoss(outputs, guides, -1.0 if self.ratio is None else self.ratio)


def listen(
    model: Model | None, images: Samples, guides: Tensor, layers: str | Sequence[str], activation: Activation
) -> LayerOutputs:
    """The layers of a model, after checks that guides are other images in the shape and unit of the sources."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a network with layers for this objective, got {model}: a torch.nn.Module")
    if guides.shape != images.shape:
        raise ValueError(
            f"labels must be guide images of the sources' shape {list(images.shape)} for this objective, got "
            f"{list(guides.shape)}: bring both to one size first"
        )
    finite = guides.is_floating_point() and bool(guides.isfinite().all())
    pictures = images.ndim == 4 and len(images) > 0 and float(images.min()) >= 0 and float(images.max()) <= 1
    if not finite or (pictures and not (float(guides.min()) >= -ROUNDING and float(guides.max()) <= 1 + ROUNDING)):
        raise ValueError(
            f"guides must be finite images in the unit of the sources, got {guides.dtype} from "
            f"{float(guides.min()):.4g} to {float(guides.max()):.4g}: divide bytes by 255, and leave normalisation to "
            "the model"
        )
    same = (guides.to(images) == images).flatten(1).all(1)
    if bool(same.any()):
        raise ValueError(
            f"guides must be other images than their sources, got the same in {named_rows(same)}: leave them out"
        )
    return LayerOutputs(model, layers, activation=activation)


def guided(outputs: LayerOutputs, sources: Mapping[str, Features], guides: Samples) -> Guides:
    """Representations of guides; dead layers, and sources with the representation of their guide, are refused."""
    with torch.no_grad():
        features = outputs(guides)
        units = {name: square(sources[name], features[name]) for name in features}
    dead = [name for name in features if not any(bool(each[name].any()) for each in (sources, features))]
    if dead and len(guides):
        raise ValueError(
            f"layers must be alive, got zero in all units for all sources and guides at {dead}: take other layers, or "
            'activation="none"'
        )
    for name, unit in units.items():
        same = unit == 0
        if bool(same.any()):
            raise ValueError(
                f"guides must differ from their sources in every layer, got the same representation at {name!r} in "
                f"{named_rows(same)}: leave them out, or take another layer"
            )
    return Guides(features, units)


def square(first: Features, second: Features) -> PerImage:
    """Squared distances of representations, in single precision at least."""
    dtype = torch.promote_types(first.dtype, torch.float32)
    return (first.to(dtype) - second.to(dtype)).square().sum(1)


class Tangent:
    r"""Layers as linear functions of the change of an image, :math:`\phi(s) + J u`, from one pass at the source.

    The product with J is the derivative, in v, of the product :math:`J^\top v`: both come from the graph of that pass,
    and no forward-mode derivative is needed. ``features`` are the representations of the sources, by layer.
    """

    def __init__(self, outputs: LayerOutputs, sources: Samples) -> None:
        def features(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(outputs(images).values())

        self.outputs, self.sources = outputs, sources.detach()
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

    def select(self, rows: Rows) -> Tangent:
        """That of some of the images, linearised again."""
        return Tangent(self.outputs, self.sources[rows])


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


@dataclass(frozen=True)
class LinearFeatureDistance(Objective):
    r"""The distance to a guide's representation, relative to the source's, in the network linearised at the source.

    .. math:: \ell(x', g) = -\frac1K \sum_{k=1}^K
        \frac{\|\phi_k(s) + J_k (x' - s) - \phi_k(g)\|^2}{\|\phi_k(s) - \phi_k(g)\|^2}

    with :math:`J_k` the derivative of layer k at the source s. It is concave, so that its highest point in a box is
    known to any accuracy (:class:`~perturbsets.AcceleratedGradient`). For a linear network it would be
    :class:`~perturbsets.FeatureDistance`, so the difference measures how linear the network is. It is linearised at
    binding; of the calls that an adversary counts, those after the first two are passes of the linear function, each at
    about the cost of one forward and one backward pass of the network.

    Args:
        layers: Names or globs of layers, as for :func:`~perturbsets.layer_names`.
        activation: ``"relu"`` or ``"none"``, as for :class:`~perturbsets.LayerOutputs`.

    Raises:
        ValueError: If the activation is unknown.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.3.
    """

    layers: str | Sequence[str]
    _: KW_ONLY
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, Activation)

    def at(self, model: Model | None, images: Samples, labels: Tensor) -> FeatureLoss:
        """Binds to a network, sources and, in the place of labels, guides, whose representations must differ."""
        outputs = listen(model, images, labels, self.layers, self.activation)
        tangent = Tangent(outputs, images)
        return FeatureLoss(tangent, guided(outputs, tangent.features, labels.to(images)))
