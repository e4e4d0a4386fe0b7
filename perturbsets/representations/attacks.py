"""Attacks on representations and on labels, by optimisation and by one step, as Sabour et al. (2016) compare them.

The source of all but :func:`label_fgrad` and :func:`label_opt` is Sabour, Cao, Faghri and Fleet, *Adversarial
manipulation of deep representations*, 2016, sec. 3 and 4.3. Feature attacks are called as
``feature_opt(layers)(model, sources, guides)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from perturbsets._types import Labels, OneOrEach, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.smallest_radius import SmallestRadius, bisect
from perturbsets.ascents.accelerated_gradient import AcceleratedGradient
from perturbsets.ascents.projected_gradient import OneStep
from perturbsets.ascents.projected_lbfgs import ProjectedLBFGS
from perturbsets.layer_outputs import Activation
from perturbsets.objectives.classification import CrossEntropy
from perturbsets.objectives.feature_distance import FeatureDistance, LinearFeatureDistance
from perturbsets.objectives.general import Penalized
from perturbsets.sets.pixel import PixelBall

RADIUS = 10 / 255  # Sabour et al., 2016, sec. 3
TOLERANCE = 1e-6  # ratios are as small as SciPy's at this tolerance: tests/benchmarks/feature_opt.py


def feature_opt(
    layers: str | Sequence[str],
    *,
    radius: OneOrEach = RADIUS,
    activation: Activation = "relu",
    steps: int = 500,
) -> Adversary:
    r"""The feature adversary: a near image with the representation of a guide.

    .. math:: \min_{x'} \|\phi(x') - \phi(g)\|^2 \quad
        \text{subject to } \|x' - s\|_\infty \le \delta, \ 0 \le x' \le 1

    The root of minus the result's values is the ratio :math:`d(\alpha, g) / d(s, g)` of the adversary's distance to the
    source's.

    Args:
        layers: As for :class:`~perturbsets.FeatureDistance`.
        radius: Largest change :math:`\delta` of a pixel of images in [0, 1]; a number, or one per image.
        activation: As for :class:`~perturbsets.FeatureDistance`.
        steps: Most points that the box-constrained quasi-Newton ascent tries; an image is done earlier where a step
            raises its value by at most a millionth of it.

    Returns:
        The adversary; build your own from its parts for another set or ascent, or several layers with a goal.

    Raises:
        ValueError: If a setting is outside its range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> sources, guides = torch.rand(2, 5, 1, 4, 4)
        >>> result = feature_opt("1")(model, sources, guides)
        >>> bool(((-result.loss).sqrt() < 1).all())
        True
    """
    ascent = ProjectedLBFGS(steps, tolerance=TOLERANCE, stop_on_success=True)
    return Adversary(PixelBall("linf", radius), FeatureDistance(layers, activation=activation), ascent)


def feature_linear(
    layers: str | Sequence[str],
    *,
    radius: OneOrEach = RADIUS,
    activation: Activation = "relu",
    steps: int = 500,
) -> Adversary:
    r"""The feature adversary of the network linearised at the source.

    .. math:: \min_{x'} \|\phi(s) + J (x' - s) - \phi(g)\|^2 \quad
        \text{subject to } \|x' - s\|_\infty \le \delta, \ 0 \le x' \le 1

    The result's values are those of the linear network, proven to within a thousandth of themselves where the steps
    suffice; ``FeatureDistance(layers).at(model, sources, guides)`` gives those of the network itself. Arguments and
    errors are those of :func:`feature_opt`; steps count points that the accelerated ascent tries.
    """
    ascent = AcceleratedGradient(steps, stop_on_success=True)
    return Adversary(PixelBall("linf", radius), LinearFeatureDistance(layers, activation=activation), ascent)


def feature_fgrad(
    layers: str | Sequence[str], *, radius: OneOrEach = RADIUS, activation: Activation = "relu"
) -> Adversary:
    r"""One signed step towards the representation of a guide, returned even where it is no closer.

    .. math:: x' = \operatorname{clip}\big(s - \delta \operatorname{sign} \nabla_s \|\phi(s) - \phi(g)\|^2\big)

    Arguments and errors are those of :func:`feature_opt`.
    """
    return Adversary(
        PixelBall("linf", radius), FeatureDistance(layers, activation=activation), OneStep(keep_best=False)
    )


def label_fgrad(radius: OneOrEach = RADIUS) -> Adversary:
    r"""One signed step towards a target class, returned even where it is no closer.

    .. math:: x' = \operatorname{clip}\big(s - \delta \operatorname{sign} \nabla_s \ell(s, t)\big)

    with the cross-entropy :math:`\ell`. Called as ``label_fgrad()(model, sources, targets)``.

    Args:
        radius: As for :func:`feature_opt`.

    Raises:
        ValueError: If the radius is negative or NaN.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4.
    """
    return Adversary(PixelBall("linf", radius), CrossEntropy(targeted=True), OneStep(keep_best=False))


def label_opt(
    model: nn.Module,
    sources: Samples,
    targets: Labels,
    *,
    largest: float = 1e4,
    rounds: int = 10,
    steps: int = 50,
    generator: torch.Generator | None = None,
) -> SmallestRadius:
    r"""The nearest image of a target class: that of the largest price at which the class is still predicted.

    .. math:: \min_{x'} \ell(x', t) + c\, \|x' - s\|_2^2 \quad \text{subject to } 0 \le x' \le 1

    with the cross-entropy :math:`\ell`, and the largest c whose minimum is classified as t.

    Args:
        model: The classifier.
        sources: Source images.
        targets: Target classes.
        largest: Largest price c per squared unit of pixels in [0, 1], the result where it succeeds; the smallest price
            tried is a millionth of it.
        rounds: Halvings of the interval of prices, on a logarithmic scale.
        steps: Points that the quasi-Newton ascent tries in each round.
        generator: For random draws of the model.

    Returns:
        Images and their Euclidean distances; infinite where the target was never predicted.

    Raises:
        ValueError: If a number is outside its range, or targets do not fit.

    References:
        Szegedy et al., *Intriguing properties of neural networks*, 2014, sec. 4.1.
    """
    adversary = Adversary(PixelBall("l2", math.inf), Penalized(CrossEntropy(targeted=True)), ProjectedLBFGS(steps))
    return bisect(
        adversary, model, sources, targets, largest=largest, over="weight", rounds=rounds, generator=generator
    )
