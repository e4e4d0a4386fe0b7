"""Adversarial weight perturbation: a loss that is low around the weights as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from perturbsets._types import Samples
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
        gradients = dict(zip(leaves, torch.autograd.grad(losses.mean(), list(leaves.values())), strict=True))
        return [
            self._move(weight.detach(), gradients[name]) if name in gradients else None
            for name, weight in bare.named_parameters()
        ]

    def _move(self, weight: Tensor, gradient: Tensor) -> Tensor:
        length = gradient.norm()
        return self.gamma * weight.norm() * gradient / length.where(length > 0, 1.0)


def _at(model: nn.Module, tensors: dict[str, Tensor]) -> Classifier:
    """The model with other parameters and buffers."""

    def call(samples: Samples, **options: Any) -> Any:
        return functional_call(model, tensors, (samples,), options)

    return call
