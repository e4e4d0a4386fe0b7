"""Free adversarial training: one backward pass for the weights and for the attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Labels, OneOrEach, Samples
from perturbsets.ascents.climb import finite_radii, set_step_size
from perturbsets.per_image import for_each
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import Method, Update, cross_entropy


@dataclass(frozen=True)
class FreeAdversarial(Method):
    r"""Trains on each batch several times, and moves its offsets by the gradient of the same backward pass.

    .. math:: \theta \leftarrow \theta - \tau \nabla_\theta \ell, \qquad
        u \leftarrow \Pi_B\big(u + \eta\, d(\nabla_u \ell)\big), \qquad \ell = \ell(f_\theta(g(x, u)), y)

    An epoch costs as much as this many epochs of standard training, so give as many fewer ``steps``. Offsets start
    anew, at random in the set, with every batch. The paper carries them over to the next batch, of other images; here a
    step is a function of its number, so that a killed training continues to the same weights.

    Args:
        perturbations: The set.
        replays: Optimizer steps on each batch, at least 1.
        step_size: Step :math:`\eta > 0` in the set's own unit; the radius if not given.

    Raises:
        ValueError: If a number is outside its range.

    References:
        Shafahi et al., *Adversarial training for free!*, 2019, algorithm 1.
    """

    perturbations: PerturbationSet
    replays: int = 8
    step_size: OneOrEach | None = None

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise ValueError(f"replays must be at least 1, got {self.replays}")
        set_step_size(self)

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator
    ) -> Iterator[Update]:
        region = self.perturbations.at(images)
        size = finite_radii(region) if self.step_size is None else self.step_size
        offsets = region.random_start(generator=generator)
        for _ in range(self.replays):
            offsets = offsets.detach().requires_grad_()
            decoded = region.decode(offsets)
            # The backward pass of the training ends here: a learned set's networks gather no gradients.
            shown = decoded.detach().requires_grad_()
            yield cross_entropy(model, shown, labels)
            (gradient,) = torch.autograd.grad(decoded, offsets, shown.grad)
            sizes = for_each(size, offsets, "step_size")[:, None]
            offsets = region.project(offsets.detach() + sizes * region.steepest(gradient))
