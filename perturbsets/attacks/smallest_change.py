"""Attacks that look for the smallest change that succeeds: L-BFGS, DeepFool, Carlini and Wagner, FMN."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Labels, Model, Samples
from perturbsets.adversaries import Adversary, SmallestRadius, bisect, fast_minimum_norm
from perturbsets.ascents import Ascent, ProjectedAdam, ProjectedLBFGS
from perturbsets.guesses import answering
from perturbsets.model_call import class_logits, ordinary, preserve_state
from perturbsets.multi_label import multi_label_deepfool
from perturbsets.objectives import CrossEntropy, Margin, Objective, Penalized
from perturbsets.objectives.classification import check_finite, check_logits, class_numbers
from perturbsets.sets import PixelBall
from perturbsets.sets.pixel import Norm

SmallestChange = Callable[..., SmallestRadius]
"""An attack that gives for each image the smallest change found, and its norm."""


@answering
def lbfgs(*, steps: int = 50, rounds: int = 10, largest: float = 1e4, targeted: bool = False) -> SmallestChange:
    r"""The first attack on neural networks: L-BFGS on cross-entropy with a penalty on the squared change.

    .. math:: \min_{x' \in [0, 1]^n} \ell(x', t) + c\, \|x' - x\|_2^2

    with target class t, and the largest c at which the attack succeeds, by bisection of its logarithm. Untargeted, the
    cross-entropy of the true class is raised.

    Args:
        steps: Largest number of quasi-Newton steps in each round.
        rounds: Number of bisections.
        largest: Largest penalty c; the search goes down to a millionth of it.
        targeted: Whether labels are target classes, as in the paper.

    Returns:
        The attack; its result has images and their Euclidean distances, infinite without success.

    Raises:
        ValueError: If there are no steps; at the call, if another number is outside its range.

    References:
        Szegedy et al., *Intriguing properties of neural networks*, 2014, sec. 4.1.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> lbfgs(targeted=True)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).radii.shape
        torch.Size([5])
    """
    return _penalized(CrossEntropy(targeted=targeted), ProjectedLBFGS(steps=steps), largest, rounds)


@answering
def carlini_wagner(
    *, steps: int = 1000, step_size: float = 0.01, rounds: int = 9, largest: float = 1e4, targeted: bool = False
) -> SmallestChange:
    r"""Carlini and Wagner's L2 attack: Adam on the margin with a penalty on the squared change.

    .. math:: \min_{x' \in [0, 1]^n} \|x' - x\|_2^2 + \frac1c \Big(z_y(x') - \max_{k \ne y} z_k(x')\Big)

    with the largest penalty c at which the attack succeeds, by bisection of its logarithm. The paper weighs the margin
    instead (1/c here), cuts it off below 0, and replaces the box by a tanh; Adam's steps are clipped to it here.

    Args:
        steps: Steps of Adam in each round; the paper takes 10,000 and finds 95 % of the optimum within 1,000.
        step_size: Step of each pixel.
        rounds: Number of bisections; 9 as in the authors' release.
        largest: Largest penalty c; the search goes down to a millionth of it.
        targeted: Whether labels are target classes.

    Returns:
        The attack; its result has images and their Euclidean distances, infinite without success.

    Raises:
        ValueError: If a number is outside its range, some of them at the call only.

    References:
        Carlini and Wagner, *Towards evaluating the robustness of neural networks*, 2017, sec. V-A (loss f6), VI-A and
        VIII.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> carlini_wagner(steps=20, rounds=3)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).radii.shape
        torch.Size([5])
    """
    ascent = ProjectedAdam(steps=steps, step_size=step_size, starts="zero")
    return _penalized(Margin(targeted=targeted), ascent, largest, rounds)


@answering
def fmn(
    *, norm: Norm = "l2", steps: int = 100, step_size: float = 1.0, rate: float = 0.05, targeted: bool = False
) -> SmallestChange:
    r"""Fast minimum norm: one climb in a ball whose radius shrinks after a success and grows without one.

    .. math:: \epsilon \leftarrow (1 \mp \gamma)\, \epsilon, \qquad
        u \leftarrow \Pi_\epsilon\big(u - \alpha \nabla m / \|\nabla m\|_2\big)

    with the margin m by which the model is still right; see :func:`perturbsets.fast_minimum_norm` for departures.

    Args:
        norm: Norm to minimise: ``"l1"``, ``"l2"`` or ``"linf"``.
        steps: Number of steps.
        step_size: First step :math:`\alpha`.
        rate: First rate :math:`\gamma`, in (0, 1).
        targeted: Whether labels are target classes.

    Returns:
        The attack; its result has images and their distances. It draws nothing from the generator.

    Raises:
        ValueError: At the call, if a setting is outside its range.

    References:
        Pintor et al., *Fast minimum-norm adversarial attacks through adaptive norm constraints*, 2021, algorithm 1.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> result = fmn(norm="linf")(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3)
        >>> result.accuracy(torch.tensor([0.0, 0.1])).shape
        torch.Size([2])
    """

    def attack(
        model: Model, images: Samples, labels: Any, *, generator: torch.Generator | None = None
    ) -> SmallestRadius:
        return fast_minimum_norm(
            model, images, labels, norm=norm, targeted=targeted, steps=steps, step_size=step_size, rate=rate
        )

    return attack


@answering
def deepfool(*, steps: int = 50, overshoot: float = 0.02, candidates: int = 10) -> SmallestChange:
    r"""DeepFool: the least Euclidean change to a linear model of the classifier, repeated where it leads.

    .. math:: r = \arg\min \|r\|_2 \quad \text{subject to} \quad
        z_k(x + u) - z_y(x + u) + \nabla (z_k - z_y)^\top (r - u) \ge 0, \ 0 \le x + r \le 1

    The paper chooses the class k of the nearest boundary anew in each step. Here each of the classes with the highest
    logits is followed to its boundary by :func:`perturbsets.multi_label.multi_label_deepfool`, and the nearest counts.

    Args:
        steps: Largest number of steps towards each class.
        overshoot: Share of the margin by which first steps go beyond the boundary, in (0, 1).
        candidates: Number of wrong classes tried; 10 classes in the authors' release.

    Returns:
        The attack; its result has images and their Euclidean distances: 0 where an image is misclassified already,
        infinite without success. It draws nothing from the generator.

    Raises:
        ValueError: If there are no candidates; at the call, if another setting is outside its range.

    References:
        Moosavi-Dezfooli, Fawzi and Frossard, *DeepFool: a simple and accurate method to fool deep neural networks*,
        2016, algorithm 2.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> deepfool()(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).radii.shape
        torch.Size([5])
    """
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}: it is a number of wrong classes")

    def attack(
        model: Model, images: Samples, labels: Any, *, generator: torch.Generator | None = None
    ) -> SmallestRadius:
        images, labels = ordinary(images).detach(), class_numbers(ordinary(labels), images)
        nearest = images.new_full((len(images),), math.inf, dtype=torch.promote_types(images.dtype, torch.float32))
        best, calls = images.clone(), torch.ones_like(labels)
        with preserve_state(model, images) as model:
            wrong, clean = _wrong_classes(model, images, labels, candidates)
            for column in wrong.T:
                for target, label in torch.stack([column, labels], 1).unique(dim=0).tolist():
                    rows = ((column == target) & (labels == label)).nonzero()[:, 0]
                    lead = partial(_lead, model, target, label)
                    asked = nearest.new_ones(len(rows), 1)  # that the lead of the wrong class be positive
                    found = multi_label_deepfool(lead, images[rows], asked, steps=steps, overshoot=overshoot)
                    calls[rows] += found.calls
                    closer = found.radii < nearest[rows]
                    nearest[rows[closer]], best[rows[closer]] = found.radii[closer], found.images[closer]
        return SmallestRadius(nearest, best, calls, clean)

    return attack


def _penalized(objective: Objective, ascent: Ascent, largest: float, rounds: int) -> SmallestChange:
    """The search for the largest penalty at which an objective's goal is reached in the box of all images."""
    adversary = Adversary(PixelBall(norm="l2", radius=math.inf), Penalized(objective=objective), ascent)
    return partial(bisect, adversary, largest=largest, over="weight", rounds=rounds)


def _wrong_classes(model: Model, images: Samples, labels: Labels, count: int) -> tuple[Tensor, Tensor]:
    """The wrong classes with the highest logits, a row per image, and which images are misclassified."""
    if not len(images):
        return labels.new_zeros(0, 1), torch.zeros_like(labels, dtype=torch.bool)
    with torch.no_grad():
        logits = class_logits(model, images)
    check_logits(logits, labels)
    check_finite(logits)
    wrong = logits.scatter(1, labels[:, None], -math.inf).topk(min(count, logits.shape[1] - 1)).indices
    return wrong, logits.argmax(1) != labels


def _lead(model: Model, target: int, label: int, images: Samples) -> Tensor:
    """By how much the logit of a class exceeds that of another one, ``[B, 1]``."""
    logits = class_logits(model, images)
    return logits[:, target : target + 1] - logits[:, label : label + 1]
