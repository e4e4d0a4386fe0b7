"""Adversarial training: on the worst images of an adversary, of one step, or of the training's own backward passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from perturbsets._types import Classes, Labels, Logits, OneOrEach, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.worst import Worst
from perturbsets.ascents.base import finite_radii, set_step_size
from perturbsets.ascents.projected_gradient import GradientAscent
from perturbsets.model_call import preserve_state
from perturbsets.objectives.classification import KLDivergence, divergence
from perturbsets.rows import check_weights, for_each
from perturbsets.sets.base import PerturbationSet
from perturbsets.training.method import Classifier, Method, OneUpdate, Update, cross_entropy, paired_forward


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
        adversarial = self.adversary(bare, images, labels, generator=generator, rank="value").images
        with preserve_state(bare, images.device), torch.no_grad():
            clean, changed = (cross_entropy(bare, x, labels)[0] for x in (images, adversarial))
        chosen = (clean >= changed).view(-1, *[1] * (images.ndim - 1))
        return torch.where(chosen, images, adversarial)


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


@dataclass(frozen=True)
class TRADES(AdversarialTraining):
    r"""Cross-entropy on clean images, and the divergence of the worst prediction in the set from the clean one.

    .. math:: \ell(f_\theta(x), y) + \beta \max_{x' \in S(x)} \mathrm{KL}\big(p_\theta(x) \,\|\, p_\theta(x')\big)

    Accuracy in the records is that on the changed images.

    Args:
        adversary: The inner maximisation, on any set, with the objective :class:`KLDivergence` and an ascent that
            does not start at the image, where the gradient of the divergence is zero; leave ``stop_on_success`` off.
        beta: :math:`\beta \ge 0`; the paper's 1 to 6 trade accuracy for robustness.

    Raises:
        ValueError: If the adversary has another objective, starts at zero or stops on success, or beta is not finite
            or negative.

    References:
        Zhang et al., *Theoretically principled trade-off between robustness and accuracy*, 2019, eq. 5 and algorithm 1.
    """

    adversary: Adversary
    _: KW_ONLY
    beta: float = 6.0

    def __post_init__(self) -> None:
        objective, ascent = self.adversary.objective, self.adversary.ascent
        if not isinstance(objective, KLDivergence):
            raise ValueError(
                f"adversary must have the objective KLDivergence, got {type(objective).__name__}: write "
                "Adversary(perturbations, KLDivergence(), ascent)"
            )
        if isinstance(ascent, GradientAscent) or getattr(ascent, "starts", None) == "zero":
            raise ValueError(
                f"adversary must not start at zero, where the divergence has no gradient, got {type(ascent).__name__}: "
                'give an ascent with starts="uniform"'
            )
        if getattr(ascent, "stop_on_success", False):
            raise ValueError(
                "adversary must not stop on success, since the divergence may be higher elsewhere, got "
                "stop_on_success=True: write dataclasses.replace(ascent, stop_on_success=False)"
            )
        check_weights(beta=self.beta)

    def losses(self, model: Classifier, images: Samples, prepared: Samples, labels: Labels) -> Update:
        clean, changed = paired_forward(model, images, prepared, labels)
        natural = F.cross_entropy(clean, labels, reduction="none")
        return natural + self.beta * divergence(clean.log_softmax(1), changed), changed


@dataclass(frozen=True)
class MART(AdversarialTraining):
    r"""Boosted cross-entropy on the worst image, and a divergence weighted by how unsure the clean prediction is.

    .. math:: -\ln p_y(x') - \ln\big(1 - \max_{k \ne y} p_k(x')\big)
        + \lambda\, \mathrm{KL}\big(p(x) \,\|\, p(x')\big)\, \big(1 - p_y(x)\big)

    Accuracy in the records is that on the changed images.

    Args:
        adversary: The inner maximisation, on any set; the paper raises cross-entropy.
        beta: :math:`\beta \ge 0`.

    Raises:
        ValueError: If beta is not finite or negative.

    References:
        Wang et al., *Improving adversarial robustness requires revisiting misclassified examples*, 2020.
    """

    _: KW_ONLY
    beta: float = 5.0

    def __post_init__(self) -> None:
        check_weights(beta=self.beta)

    def losses(self, model: Classifier, images: Samples, prepared: Samples, labels: Labels) -> Update:
        clean, changed = paired_forward(model, images, prepared, labels)
        unsure = -torch.expm1(-F.cross_entropy(clean, labels, reduction="none"))
        return boosted(changed, labels) + self.beta * unsure * divergence(clean.log_softmax(1), changed), changed


def boosted(logits: Logits, labels: Labels) -> PerImage:
    r"""Cross-entropy plus a penalty for the best wrong class, :math:`-\ln p_y - \ln(1 - \max_{k \ne y} p_k)`.

    The second term is a difference of log-sums over all classes and over all but that one, exact where the
    probability rounds to 1.
    """
    wrong = logits.scatter(1, labels[:, None], float("-inf")).argmax(1, keepdim=True)
    rest = logits.scatter(1, wrong, float("-inf"))
    return F.cross_entropy(logits, labels, reduction="none") + logits.logsumexp(1) - rest.logsumexp(1)
