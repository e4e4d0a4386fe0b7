"""Several attacks as one: Auto-PGD towards several classes, and the fixed ensemble in the manner of AutoAttack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from perturbsets._types import OneOrEach
from perturbsets.adversaries import Adversary, Worst
from perturbsets.ascents import APGD
from perturbsets.attacks.gradient import classifier_objective, pixel_ball
from perturbsets.evaluation import Robustness, evaluate_robustness
from perturbsets.guesses import answering
from perturbsets.objectives import StrongestWrong
from perturbsets.sets import PerturbationSet
from perturbsets.sets.pixel import Norm


@answering
def apgd_t(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    loss: Literal["ce", "dlr", "margin"] = "dlr",
    targets: int = 9,
    steps: int = 100,
    restarts: int = 1,
) -> Worst:
    r"""Targeted Auto-PGD towards each of the strongest wrong classes; any wrong prediction is a success.

    .. math:: \max_{\|u\| \le \epsilon}
        \frac{z_t - \max_{k \ne t} z_k}{z_{\pi_1} - \frac12 (z_{\pi_3} + z_{\pi_4})}(x + u), \qquad
        t = \text{class of the } k\text{-th largest logit but } y, \quad k = 1, \dots, K_t

    with the order :math:`\pi` of the logits, largest first. A later target meets only images still predicted right.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        loss: Targeted loss: ``"dlr"`` (at least 4 classes), ``"margin"`` or ``"ce"``.
        targets: Number :math:`K_t` of target classes, fewer than the model has classes.
        steps: Number of steps per start.
        restarts: Number of random starts towards each target.

    Returns:
        The attack, called as the others with true classes; its result also says which target succeeded.

    Raises:
        ValueError: If the norm or loss is unknown, or a number outside its range; at the call, if classes are too few.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, eq. 8 and sec. 6 (9 targets, 100 steps).

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5))
        >>> apgd_t(targets=4, steps=5)(model, torch.rand(5, 1, 4, 4), torch.arange(5)).images.shape
        torch.Size([5, 1, 4, 4])
    """
    ball, toward = pixel_ball(norm, radius), classifier_objective(loss, targeted=True)
    ascent = APGD(steps=steps, restarts=restarts, stop_on_success=True)
    objectives = [StrongestWrong(rank=rank, objective=toward) for rank in range(1, targets + 1)]
    return Worst([Adversary(ball, objective, ascent) for objective in objectives], drop_successes=True)


@answering
def autoattack(
    *,
    norm: Norm = "linf",
    radius: OneOrEach | None = None,
    sets: PerturbationSet | Mapping[str, PerturbationSet] | None = None,
    steps: int = 100,
    queries: int = 5000,
    targets: int = 9,
) -> Callable[..., Robustness]:
    r"""Robust accuracy under a fixed ensemble: Auto-PGD, targeted Auto-PGD and Square, one after the other.

    .. math:: \frac1B \sum_i \min_a \mathbf 1\big[\arg\max_k z_k(x_i^{(a)}) = y_i\big]

    over the attacks a. It is :func:`perturbsets.evaluate_robustness` on a pixel ball, and differs from AutoAttack in
    leaving out FAB, whose targeted form adds nothing to targeted Auto-PGD in the paper.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``; in L1 random draws take the place of Square.
        radius: Radius for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2, 12 in L1.
        sets: A perturbation set of any kind, or several by name, in place of the pixel ball.
        steps: Steps of each Auto-PGD.
        queries: Model calls of Square for each image.
        targets: Largest number of target classes.

    Returns:
        The evaluation, called as ``(model, images, labels, *, generator=None)``; ``groups``, ``batch``, ``folder`` and
        ``progress`` of :func:`perturbsets.evaluate_robustness` may follow.

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, or both a radius and sets are given; at the
            call, as :func:`perturbsets.evaluate_robustness`.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, sec. 6.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> attack = autoattack(radius=0.1, steps=5, queries=10)
        >>> result = attack(model, torch.rand(6, 1, 4, 4), torch.arange(6) % 3)
        >>> result.accuracy.mean <= result.clean.mean
        True
    """
    if sets is not None and radius is not None:
        raise ValueError("radius must be left out where sets are given: they have their own")
    chosen = pixel_ball(norm, radius) if sets is None else sets
    return partial(evaluate_robustness, sets=chosen, steps=steps, queries=queries, targets=targets)
