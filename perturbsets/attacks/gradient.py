"""Gradient attacks in a pixel ball: FGSM, BIM, PGD, MI-FGSM and Auto-PGD."""

from __future__ import annotations

from typing import Literal

import torch

from perturbsets._types import OneOrEach
from perturbsets.adversaries import Adversary
from perturbsets.ascents import APGD, OneStep, ProjectedGradient
from perturbsets.guesses import answering
from perturbsets.objectives import DLR, CrossEntropy, Margin, Objective
from perturbsets.sets import PixelBall
from perturbsets.sets.pixel import Norm

RADII = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
"""Radii customary for CIFAR-10: RobustBench (Croce et al., 2021) in L-inf and L2, Croce and Hein, 2021, in L1."""
SMALLEST_STEP = 1e-12  # where the radius is 0


@answering
def fgsm(*, norm: Norm = "linf", radius: OneOrEach | None = None, targeted: bool = False) -> Adversary:
    r"""Fast gradient sign method; in L2 and L1 the fast gradient method, with the norm's steepest step.

    .. math:: x' = \operatorname{clip}\big(x + \epsilon \operatorname{sign} \nabla_x \ell(x, y)\big)

    with the cross-entropy :math:`\ell`. The step counts wherever it leads.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        targeted: Whether labels are target classes, whose cross-entropy is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, or the radius negative or NaN.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> images = torch.rand(5, 1, 4, 4)
        >>> result = fgsm(radius=0.1)(model, images, torch.arange(5) % 3)
        >>> bool(((result.images - images).abs() <= 0.1 + 1e-6).all())
        True
    """
    return Adversary(pixel_ball(norm, radius), CrossEntropy(targeted=targeted), OneStep(keep_best=False))


@answering
def r_fgsm(
    *, norm: Norm = "linf", radius: OneOrEach | None = None, step_size: OneOrEach | None = None, targeted: bool = False
) -> Adversary:
    r"""FGSM from a random start, the attack of fast adversarial training.

    .. math:: x' = \Pi_\epsilon\big(x + u + \alpha \operatorname{sign} \nabla \ell(x + u, y)\big), \qquad
        u \sim U[-\epsilon, \epsilon]

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        step_size: Step :math:`\alpha > 0`, in the unit of the radius; 1.25 times the radius if not given.
        targeted: Whether labels are target classes, whose cross-entropy is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, or the step size not above 0.

    References:
        Wong, Rice and Kolter, *Fast is better than free: revisiting adversarial training*, 2020, sec. 4.1;
        Tramèr et al., *Ensemble adversarial training: attacks and defenses*, 2018, sec. 4 (R+FGSM).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> r_fgsm(radius=0.1)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball = pixel_ball(norm, radius)
    step = step_or_share(step_size, ball.radius, 1.25)
    return Adversary(ball, CrossEntropy(targeted=targeted), OneStep(step_size=step, starts="uniform", keep_best=False))


@answering
def bim(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    steps: int = 10,
    step_size: OneOrEach | None = None,
    targeted: bool = False,
) -> Adversary:
    r"""Basic iterative method (iterative FGSM): small steps from the clean image.

    .. math:: x_{t+1} = \Pi_\epsilon\big(x_t + \alpha \operatorname{sign} \nabla \ell(x_t, y)\big), \qquad x_0 = x

    Of the images on the way the best is returned: a successful one, and of these that of the highest loss.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        steps: Number of steps; 10 by the paper's rule :math:`\min(\epsilon + 4,\ 1.25\, \epsilon)` at 8/255.
        step_size: Step :math:`\alpha > 0`; an eighth of the radius if not given, the paper's 1/255 at 8/255.
        targeted: Whether labels are target classes, whose cross-entropy is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, or a number is outside its range.

    References:
        Kurakin, Goodfellow and Bengio, *Adversarial examples in the physical world*, 2017, sec. 2.2.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> bim(norm="l2", radius=0.5)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball = pixel_ball(norm, radius)
    step = step_or_share(step_size, ball.radius, 1 / 8)
    ascent = ProjectedGradient(steps=steps, step_size=step, starts="zero")
    return Adversary(ball, CrossEntropy(targeted=targeted), ascent)


@answering
def pgd(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    steps: int = 20,
    step_size: OneOrEach | None = None,
    restarts: int = 1,
    targeted: bool = False,
) -> Adversary:
    r"""Projected gradient descent on the negative loss, from random starts.

    .. math:: x_{t+1} = \Pi_\epsilon\big(x_t + \alpha \operatorname{sign} \nabla \ell(x_t, y)\big), \qquad
        x_0 \sim U(B_\epsilon(x))

    Of the images on the way the best is returned: a successful one, and of these that of the highest loss.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        steps: Number of steps per start.
        step_size: Step :math:`\alpha > 0`; a quarter of the radius if not given, the paper's 2/255 at 8/255.
        restarts: Number of random starts.
        targeted: Whether labels are target classes, whose cross-entropy is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, or a number is outside its range.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018, sec. 2.1 and 5 (20 steps of
        2 on CIFAR-10).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> pgd(norm="linf", radius=8 / 255)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).success.shape
        torch.Size([5])
    """
    ascent = ProjectedGradient(steps=steps, step_size=step_size, restarts=restarts)
    return Adversary(pixel_ball(norm, radius), CrossEntropy(targeted=targeted), ascent)


@answering
def mi_fgsm(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    steps: int = 10,
    step_size: OneOrEach | None = None,
    momentum: float = 1.0,
    targeted: bool = False,
) -> Adversary:
    r"""Momentum iterative FGSM: steps along a running sum of normalised gradients.

    .. math:: g_{t+1} = \mu\, g_t + \frac{\nabla \ell(x_t, y)}{\|\nabla \ell(x_t, y)\|_1}, \qquad
        x_{t+1} = \Pi_\epsilon\big(x_t + \alpha \operatorname{sign} g_{t+1}\big), \qquad x_0 = x

    Of the images on the way the best is returned, as for :func:`bim`. The paper takes a radius of 16/255.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        steps: Number of steps T.
        step_size: Step :math:`\alpha > 0`; the radius over T if not given.
        momentum: Weight :math:`\mu \ge 0` of former gradients.
        targeted: Whether labels are target classes, whose cross-entropy is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, or a number is outside its range.

    References:
        Dong et al., *Boosting adversarial attacks with momentum*, 2018, algorithm 1 and sec. 4.1.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> mi_fgsm(radius=16 / 255)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball = pixel_ball(norm, radius)
    step = step_or_share(step_size, ball.radius, 1 / max(steps, 1))
    ascent = ProjectedGradient(steps=steps, step_size=step, starts="zero", momentum=momentum)
    return Adversary(ball, CrossEntropy(targeted=targeted), ascent)


@answering
def apgd(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    loss: Literal["ce", "dlr", "margin"] = "ce",
    steps: int = 100,
    restarts: int = 1,
    targeted: bool = False,
) -> Adversary:
    r"""Auto-PGD: projected gradient with momentum, whose step size halves where progress stalls.

    .. math:: z = \Pi_\epsilon\big(x_t + \eta_t \operatorname{sign} \nabla \ell(x_t, y)\big), \qquad
        x_{t+1} = \Pi_\epsilon\big(x_t + 0.75\, (z - x_t) + 0.25\, (x_t - x_{t-1})\big), \qquad \eta_0 = 2 \epsilon

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        loss: Cross-entropy ``"ce"``, ratio of logit differences ``"dlr"`` (3 classes, 4 if targeted), or ``"margin"``.
        steps: Number of steps per start.
        restarts: Number of random starts.
        targeted: Whether labels are target classes, whose loss is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm or loss is unknown, the radius negative or NaN, or there are no steps or starts.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, algorithm 1, eq. 6 and 8, and sec. 6 (100 steps).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> apgd(loss="dlr", steps=10)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ascent = APGD(steps=steps, restarts=restarts)
    return Adversary(pixel_ball(norm, radius), classifier_objective(loss, targeted=targeted), ascent)


def pixel_ball(norm: str, radius: OneOrEach | None) -> PixelBall:
    """The pixel ball of images in [0, 1], of the customary radius if none is given."""
    chosen = RADII.get(norm, 0.0) if radius is None else radius
    return PixelBall(norm=norm, radius=chosen)  # type: ignore[arg-type]  # it refuses others, and names those it has


def classifier_objective(loss: str, *, targeted: bool) -> Objective:
    """The objective of a short name."""
    kinds: dict[str, type[CrossEntropy | DLR | Margin]] = {"ce": CrossEntropy, "dlr": DLR, "margin": Margin}
    if loss not in kinds:
        raise ValueError(f"loss must be one of {sorted(kinds)}, got {loss!r}; for another build an Adversary with it")
    return kinds[loss](targeted=targeted)


def step_or_share(step_size: OneOrEach | None, radius: OneOrEach, share: float) -> OneOrEach:
    """The step size given, else a share of the radius, and above 0 where the radius is 0."""
    if step_size is not None:
        return step_size
    if isinstance(radius, torch.Tensor):
        return (share * radius).clamp_min(SMALLEST_STEP)
    assert isinstance(radius, float)  # the set made it one
    return max(share * radius, SMALLEST_STEP)
