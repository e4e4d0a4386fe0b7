"""Fast adversarial training: one gradient pass from a random start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perturbsets._types import Labels, OneOrEach, Samples
from perturbsets.ascents.climb import finite_radii, set_step_size
from perturbsets.per_image import for_each
from perturbsets.purity import untouched
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import OneUpdate, cross_entropy


@dataclass(frozen=True)
class FastAdversarial(OneUpdate):
    r"""Cross-entropy where one steepest step from a random point of the ball ends.

    .. math:: u_0 \text{ uniform in } B, \qquad u = \Pi\big(u_0 + \eta\, d(\nabla_u \ell(f_\theta(g(x, u_0)), y))\big)

    Costs one gradient pass beside the training step: nobody looks whether the end is worse than the start. The start
    keeps to the ball alone; bounds cut what is shown, not the start itself, so that not every step ends in a corner.
    A one-step attack may be overfitted all of a sudden: a :class:`RobustValidation` with a stronger adversary notices
    and keeps the weights from before, and :class:`GradientAlignment` keeps it from happening.

    Args:
        perturbations: The set, of finite radius.
        step_size: Step :math:`\eta > 0` in the set's own unit; 1.25 times the radius if not given. A number, or one per
            image.

    Raises:
        ValueError: If the step size is not above 0.

    References:
        Wong, Rice and Kolter, *Fast is better than free: revisiting adversarial training*, 2020, algorithm 3.
    """

    perturbations: PerturbationSet
    step_size: OneOrEach | None = None

    def __post_init__(self) -> None:
        set_step_size(self)

    def shown(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        with untouched(bare, images.device):
            region = self.perturbations.at(images.detach())
            size = 1.25 * finite_radii(region) if self.step_size is None else self.step_size
            offsets = region.ball.uniform(region.centre(), generator).requires_grad_()
            losses, _ = cross_entropy(bare, region.decode(offsets), labels)
            (gradient,) = torch.autograd.grad(losses.sum(), offsets)
            step = for_each(size, offsets, "step_size")[:, None] * region.steepest(gradient)
            with torch.no_grad():
                return region.decode(region.project(offsets + step))
