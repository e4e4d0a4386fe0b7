"""Methods that add to another one: adversarial weight perturbation, and gradient alignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from perturbsets._types import Labels, Logits, Offsets, PerImage, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.classification import check_logits
from perturbsets.rows import check_weights
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import Classifier, OneUpdate, Update


@dataclass(frozen=True)
class AdversarialWeightPerturbation(OneUpdate):
    r"""Another method's loss at weights that were perturbed, layer by layer, to raise it.

    .. math:: \min_\theta \ell(\theta + v), \qquad v_l = \gamma\, \|\theta_l\|\, \frac{g_l}{\|g_l\|}, \qquad
        g = \nabla_\theta \ell(\theta)

    Layers are the weights of two or more dimensions; biases and normalisations stay. The weights themselves are never
    written to: the loss is taken at the sum, and v is a constant. The pass that finds v leaves no trace in running
    statistics. With several processes each moves the weights by the gradient of its own rows.

    Args:
        method: The method whose loss it is.
        gamma: :math:`\gamma > 0`, norm of the perturbation of a layer relative to that of its weights.

    Raises:
        ValueError: If gamma is not a finite number above 0, or the method perturbs weights already.

    References:
        Wu, Xia and Wang, *Adversarial weight perturbation helps robust generalization*, 2020 (with one step).
    """

    method: OneUpdate
    _: KW_ONLY
    gamma: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma must be a finite number above 0, got {self.gamma}")
        if isinstance(self.method, AdversarialWeightPerturbation):
            raise ValueError(
                "method must not move weights itself, got AdversarialWeightPerturbation: give the method inside"
            )

    def targets(self, given: Sequence[Tensor]) -> Any:
        return self.method.targets(given)

    def prepare(
        self, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator
    ) -> tuple[Any, list[Tensor | None]]:
        prepared = self.method.prepare(bare, images, labels, generator)
        return prepared, self._moves(bare, images, prepared, labels)

    def losses(
        self, model: Classifier, images: Samples, prepared: tuple[Any, list[Tensor | None]], labels: Any
    ) -> Update:
        assert isinstance(model, nn.Module)  # no method outside of this one changes the model
        inside, moves = prepared
        # By order, since a wrapper for several processes has names of its own.
        paired = zip(model.named_parameters(), moves, strict=True)
        moved = {name: weight + move for (name, weight), move in paired if move is not None}
        return self.method.losses(_at(model, moved), images, inside, labels)

    def _moves(self, bare: nn.Module, images: Samples, prepared: Any, labels: Any) -> list[Tensor | None]:
        """For each parameter its move, if it has one."""
        leaves = {
            name: weight.detach().requires_grad_()
            for name, weight in bare.named_parameters()
            if weight.requires_grad and weight.ndim > 1
        }
        statistics = {name: buffer.clone() for name, buffer in bare.named_buffers()}
        losses, _ = self.method.losses(_at(bare, leaves | statistics), images, prepared, labels)
        moves = {}
        for name, gradient in zip(leaves, torch.autograd.grad(losses.mean(), list(leaves.values())), strict=True):
            length = gradient.norm()
            size = self.gamma * leaves[name].detach().norm()
            moves[name] = size * gradient / length.where(length > 0, 1.0)
        return [moves.get(name) for name, _ in bare.named_parameters()]


def _at(model: nn.Module, tensors: dict[str, Tensor]) -> Classifier:
    """The model with other parameters and buffers."""

    def call(samples: Samples, **options: Any) -> Any:
        return functional_call(model, tensors, (samples,), options)

    return call


@dataclass(frozen=True)
class GradientAlignment(OneUpdate):
    r"""Another method's loss, and a penalty where gradients at the centre and at a random point differ in direction.

    .. math:: \ell + \lambda \big(1 - \cos(\nabla_u \ell(g(x, 0), y),\ \nabla_u \ell(g(x, u'), y))\big),
        \qquad u' \text{ uniform in } B

    One step then raises the loss about as far as many, and training against it does not collapse. The gradients of
    offsets are differentiated again, for about three times the cost of the method's own passes; images without a
    gradient have no penalty.

    Args:
        method: The method whose loss it is.
        perturbations: The set in which gradients are to agree.
        weight: :math:`\lambda \ge 0`; 0.2 is the paper's for radius 8/255 on CIFAR-10.

    Raises:
        ValueError: If the weight is not finite or negative, or the method perturbs weights.

    References:
        Andriushchenko and Flammarion, *Understanding and improving fast adversarial training*, 2020.
    """

    method: OneUpdate
    _: KW_ONLY
    perturbations: PerturbationSet
    weight: float = 0.2

    def __post_init__(self) -> None:
        check_weights(weight=self.weight)
        if isinstance(self.method, AdversarialWeightPerturbation):
            raise ValueError(
                "method must not move weights, got AdversarialWeightPerturbation: write "
                "AdversarialWeightPerturbation(GradientAlignment(method, ...)), which aligns gradients there"
            )

    def prepare(
        self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator
    ) -> tuple[Any, Offsets]:
        prepared = self.method.prepare(bare, images, labels, generator)
        return prepared, self.perturbations.at(images).random_start(generator=generator)

    def losses(self, model: Classifier, images: Samples, prepared: tuple[Any, Offsets], labels: Labels) -> Update:
        region = self.perturbations.at(images)
        inside, drawn = prepared
        ends = [offsets.detach().requires_grad_() for offsets in (region.centre(), drawn)]
        extended = _Extended(model, torch.cat([region.decode(offsets) for offsets in ends]))
        losses, logits = self.method.losses(extended, images, inside, labels)
        check_logits(extended.logits, labels.repeat(2))
        values = F.cross_entropy(extended.logits, labels.repeat(2), reduction="sum")
        first, second = torch.autograd.grad(values, ends, create_graph=True)
        return losses + self.weight * misalignment(first, second), logits


class _Extended:
    """A model that adds further samples to its one pass, and stores their logits."""

    logits: Tensor

    def __init__(self, model: Classifier, samples: Samples) -> None:
        self.model, self.samples = model, samples

    def __call__(self, samples: Samples) -> Logits:
        logits = class_logits(self.model, torch.cat([samples, self.samples]))
        self.logits = logits[len(samples) :]
        return logits[: len(samples)]


def misalignment(first: Offsets, second: Offsets) -> PerImage:
    r"""One minus the cosine between gradients; 0 where one of them is zero."""
    # The cosine is blind to scale, and squares of small gradients are zero in single precision.
    first, second = (g / g.detach().abs().amax(1, keepdim=True).clamp_min(1e-30) for g in (first, second))
    lengths = first.square().sum(1) * second.square().sum(1)
    moving = lengths > 0
    return (1 - (first * second).sum(1) / lengths.where(moving, 1.0).sqrt()).where(moving, 0.0)
