"""Gradient attacks in a pixel ball: FGSM, BIM, PGD, MI-FGSM and Auto-PGD."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from perturbsets._types import OneOrEach
from perturbsets.adversaries import Adversary
from perturbsets.ascents import APGD, OneStep, ProjectedGradient
from perturbsets.objectives import DLR, CrossEntropy, Margin, Objective
from perturbsets.sets import PixelBall

Norm = Literal["l1", "l2", "linf"]
RADII = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
"""Radii customary for CIFAR-10: RobustBench (Croce et al., 2021) in L-inf and L2, Croce and Hein, 2021, in L1."""
SMALLEST_STEP = 1e-12  # where the radius is 0


def fgsm(*, norm: Norm = "linf", radius: OneOrEach | None = None, targeted: bool = False) -> Adversary:
    r"""Fast gradient sign method; in L2 and L1 the fast gradient method, with the norm's steepest step.

    .. math:: x' = \operatorname{clip}\big(x + \epsilon \operatorname{sign} \nabla_x \ell(x, y)\big)

    with the cross-entropy :math:`\ell`. The step counts wherever it leads.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1], a number or one per image; if not given 8/255 in L-inf,
            0.5 in L2, 12 in L1.
        targeted: Whether labels are target classes, whose cross-entropy is lowered.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, or the radius negative or NaN.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> result = fgsm(radius=0.1)(model, images, labels)
        >>> bool(((result.images - images).abs() <= 0.1 + 1e-6).all())
        True
    """
    return Adversary(pixel_ball(norm, radius), CrossEntropy(targeted=targeted), OneStep(keep_best=False))


def r_fgsm(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    step_size: OneOrEach | None = None,
    targeted: bool = False,
) -> Adversary:
    r"""FGSM from a random start, the attack of fast adversarial training.

    .. math:: x' = \Pi_\epsilon\big(x + u + \alpha \operatorname{sign} \nabla \ell(x + u, y)\big), \qquad
        u \sim U[-\epsilon, \epsilon]

    Args:
        norm: As for :func:`fgsm`.
        radius: As for :func:`fgsm`.
        step_size: Step :math:`\alpha`, in the unit of the radius; 1.25 times the radius if not given.
        targeted: As for :func:`fgsm`.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, or the step size not above 0.

    References:
        Wong, Rice and Kolter, *Fast is better than free: revisiting adversarial training*, 2020, sec. 4.1;
        Tramèr et al., *Ensemble adversarial training: attacks and defenses*, 2018, sec. 4 (R+FGSM).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> r_fgsm(radius=0.1)(model, images, labels).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball = pixel_ball(norm, radius)
    step = radius_share(ball.radius, 1.25) if step_size is None else step_size
    return Adversary(ball, CrossEntropy(targeted=targeted), OneStep(step_size=step, starts="uniform", keep_best=False))


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
        norm: As for :func:`fgsm`.
        radius: As for :func:`fgsm`.
        steps: Number of steps; 10 by the paper's rule :math:`\min(\epsilon + 4,\ 1.25\, \epsilon)` at 8/255.
        step_size: Step :math:`\alpha`; an eighth of the radius if not given, the paper's 1/255 at 8/255.
        targeted: As for :func:`fgsm`.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, there are no steps, or the step size is not
            above 0.

    References:
        Kurakin, Goodfellow and Bengio, *Adversarial examples in the physical world*, 2017, sec. 2.2.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> bim(norm="l2", radius=0.5)(model, images, labels).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball = pixel_ball(norm, radius)
    step = radius_share(ball.radius, 1 / 8) if step_size is None else step_size
    return Adversary(
        ball, CrossEntropy(targeted=targeted), ProjectedGradient(steps=steps, step_size=step, starts="zero")
    )


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
        norm: As for :func:`fgsm`.
        radius: As for :func:`fgsm`.
        steps: Number of steps per start.
        step_size: Step :math:`\alpha`; a quarter of the radius if not given, the paper's 2/255 at 8/255.
        restarts: Number of random starts.
        targeted: As for :func:`fgsm`.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, there are no steps or starts, or the step size
            is not above 0.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018, sec. 2.1 and 5 (20 steps of
        2 on CIFAR-10).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> result = pgd(norm="linf", radius=8 / 255)(model, images, labels)
        >>> result.success.shape
        torch.Size([5])
    """
    ascent = ProjectedGradient(steps=steps, step_size=step_size, restarts=restarts)
    return Adversary(pixel_ball(norm, radius), CrossEntropy(targeted=targeted), ascent)


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
        norm: As for :func:`fgsm`.
        radius: As for :func:`fgsm`.
        steps: Number of steps T.
        step_size: Step :math:`\alpha`; the radius over T if not given.
        momentum: Weight :math:`\mu \ge 0` of former gradients.
        targeted: As for :func:`fgsm`.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, there are no steps, the step size is not above
            0, or the momentum is negative.

    References:
        Dong et al., *Boosting adversarial attacks with momentum*, 2018, algorithm 1 and sec. 4.1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> mi_fgsm(radius=16 / 255)(model, images, labels).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball = pixel_ball(norm, radius)
    step = radius_share(ball.radius, 1 / max(steps, 1)) if step_size is None else step_size
    ascent = ProjectedGradient(steps=steps, step_size=step, starts="zero", momentum=momentum)
    return Adversary(ball, CrossEntropy(targeted=targeted), ascent)


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
        norm: As for :func:`fgsm`.
        radius: As for :func:`fgsm`.
        loss: Cross-entropy ``"ce"``, difference of logits ratio ``"dlr"`` (at least 3 classes, 4 if targeted), or
            ``"margin"``, the difference of logits.
        steps: Number of steps per start.
        restarts: Number of random starts.
        targeted: As for :func:`fgsm`.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm or loss is unknown, the radius negative or NaN, or there are no steps or starts.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, algorithm 1, eq. 6 and 8, and sec. 6 (100 steps).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> apgd(loss="dlr", steps=10)(model, images, labels).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ascent = APGD(steps=steps, restarts=restarts)
    return Adversary(pixel_ball(norm, radius), classifier_objective(loss, targeted=targeted), ascent)


def pixel_ball(norm: str, radius: OneOrEach | None) -> PixelBall:
    """The pixel ball of images in [0, 1], of the customary radius if none is given.

    Raises:
        ValueError: If the norm is unknown, or the radius negative or NaN.
    """
    chosen = RADII.get(norm, 0.0) if radius is None else radius
    return PixelBall(norm=norm, radius=chosen)  # type: ignore[arg-type]  # it refuses others, and names those it has


def classifier_objective(loss: str, *, targeted: bool) -> Objective:
    """The objective of a short name.

    Raises:
        ValueError: If the name is unknown.
    """
    kinds: dict[str, type[CrossEntropy | DLR | Margin]] = {"ce": CrossEntropy, "dlr": DLR, "margin": Margin}
    if loss not in kinds:
        raise ValueError(f"loss must be one of {sorted(kinds)}, got {loss!r}; for another build an Adversary with it")
    return kinds[loss](targeted=targeted)


def radius_share(radius: OneOrEach, share: float) -> OneOrEach:
    """A step size that is a share of the radius, and above 0 where the radius is 0."""
    if isinstance(radius, Tensor):
        return (share * radius).clamp_min(SMALLEST_STEP)
    assert isinstance(radius, float)  # PixelBall made it one
    return max(share * radius, SMALLEST_STEP)
