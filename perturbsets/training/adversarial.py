"""Adversarial training: on the worst images, from many steps, one step, or the backward pass of the training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import torch
from torch import nn

from perturbsets._types import Classes, Labels, OneOrEach, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.worst import Worst
from perturbsets.ascents.base import finite_radii, set_step_size
from perturbsets.model_call import preserve_state
from perturbsets.rows import for_each
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import Method, OneUpdate, Update, cross_entropy


@dataclass(frozen=True)
class AdversarialTraining(OneUpdate):
    r"""Cross-entropy on the worst images an adversary finds.

    .. math:: \min_\theta \mathbb E \max_{x' \in S(x)} \ell(f_\theta(x'), y)

    With projected gradient it is Madry's training. One step alone may cause catastrophic overfitting: see
    :class:`FastAdversarialTraining`. The worst image is that of the highest value of the adversary's objective, here
    and in every method of training, whether or not it is misclassified: leave ``stop_on_success`` off.

    Args:
        adversary: The inner maximisation, on any set.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018.

    Example:
        >>> from perturbsets import CrossEntropy, PixelBall, ProjectedGradient
        >>> climb = ProjectedGradient(40, step_size=0.01)
        >>> madry = AdversarialTraining(Adversary(PixelBall("linf", 0.3), CrossEntropy(), climb))
    """

    adversary: Adversary | Worst

    def prepare(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        return self.adversary(bare, images, labels, generator=generator, rank="value").images


@dataclass(frozen=True)
class LargerLossTraining(OneUpdate):
    r"""Per image the larger of the clean and the adversarial loss.

    .. math:: \max\{\ell(f_\theta(x), y),\ \ell(f_\theta(x'), y)\}

    The image of larger loss is chosen first, and only that one is trained on: one forward pass more than adversarial
    training.

    Args:
        adversary: The inner maximisation, on any set.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 5 (adversarial
        training with learned sets).
    """

    adversary: Adversary | Worst

    def prepare(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        found = self.adversary(bare, images, labels, generator=generator, rank="value").images
        with preserve_state(bare, images.device), torch.no_grad():
            clean, changed = (cross_entropy(bare, x, labels)[0] for x in (images, found))
        chosen = (clean >= changed).view(-1, *[1] * (images.ndim - 1))
        return torch.where(chosen, images, found)


@dataclass(frozen=True)
class FastAdversarialTraining(OneUpdate):
    r"""Cross-entropy where one steepest step from a random point of the ball ends.

    .. math:: u_0 \text{ uniform in } B, \qquad u = \Pi\big(u_0 + \eta\, d(\nabla_u \ell(f_\theta(g(x, u_0)), y))\big)

    Costs one gradient pass more than standard training: the loss at the end is not compared with that at the start.
    The start lies in the ball; bounds cut the image made from it, not the start itself, so that not every step ends in
    a corner. Training may overfit catastrophically to a one-step attack: a :class:`RobustValidation` with a stronger
    adversary detects it and restores earlier weights, and :class:`GradientAlignment` prevents it.

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
    _: KW_ONLY
    step_size: OneOrEach | None = None

    def __post_init__(self) -> None:
        set_step_size(self)

    def prepare(self, bare: nn.Module, images: Samples, labels: Labels, generator: torch.Generator) -> Samples:
        with preserve_state(bare, images.device):
            region = self.perturbations.at(images.detach())
            size = 1.25 * finite_radii(region) if self.step_size is None else self.step_size
            offsets = region.ball.uniform(region.centre(), generator).requires_grad_()
            losses, _ = cross_entropy(bare, region.decode(offsets), labels)
            (gradient,) = torch.autograd.grad(losses.sum(), offsets)
            step = for_each(size, offsets, "step_size")[:, None] * region.steepest(gradient)
            with torch.no_grad():
                return region.decode(region.project(offsets + step))


@dataclass(frozen=True)
class FreeAdversarialTraining(Method):
    r"""Trains on each batch several times, and moves its offsets by the gradient of the same backward pass.

    .. math:: \theta \leftarrow \theta - \tau \nabla_\theta \ell, \qquad
        u \leftarrow \Pi_B\big(u + \eta\, d(\nabla_u \ell)\big), \qquad \ell = \ell(f_\theta(g(x, u)), y)

    An epoch costs as much as ``replays`` epochs of standard training, so divide ``steps`` by that. Offsets start at
    random in the set with every batch. The paper carries them over to the next batch, of other images; here a step is a
    function of its number, so that an interrupted training continues to the same weights.

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
    _: KW_ONLY
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
            # The training's backward pass ends here: the networks of a learned set get no gradients.
            inputs = decoded.detach().requires_grad_()
            yield cross_entropy(model, inputs, labels)
            (gradient,) = torch.autograd.grad(decoded, offsets, inputs.grad)
            sizes = for_each(size, offsets, "step_size")[:, None]
            offsets = region.project(offsets.detach() + sizes * region.steepest(gradient))
