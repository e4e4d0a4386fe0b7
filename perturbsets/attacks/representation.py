"""Attacks through a network's representation: of a learned set's latents, or towards the features of a guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perturbsets._types import OneOrEach
from perturbsets.adversaries import Adversary
from perturbsets.ascents import ProjectedGradient
from perturbsets.attacks.gradient import step_or_share
from perturbsets.guesses import answering
from perturbsets.layer_outputs import Activation
from perturbsets.loading import load
from perturbsets.objectives import CrossEntropy
from perturbsets.representations import feature_opt
from perturbsets.sets import LatentBall


@answering
def latent_pgd(
    perturbations: LatentBall | Path | str,
    *,
    radius: OneOrEach | None = None,
    steps: int = 50,
    step_size: OneOrEach | None = None,
    restarts: int = 1,
    targeted: bool = False,
) -> Adversary:
    r"""PGD on the latent offsets of a learned perturbation set.

    .. math:: u_{t+1} = \Pi_{\|u\|_2 \le \epsilon}\Big(u_t + \alpha \frac{\nabla_t}{\|\nabla_t\|_2}\Big), \qquad
        \nabla_t = \nabla_u\, \ell\big(g(x, \mu(x) + \sigma(x) \odot u_t), y\big)

    from random starts; an image is done at its first success.

    Args:
        perturbations: A learned set, or the name, folder or hub repository of one, as :func:`perturbsets.load` takes.
        radius: Radius :math:`\epsilon` in prior standard deviations; the set's own if not given.
        steps: Number of steps per start.
        step_size: Step :math:`\alpha`, in the unit of the radius; a twentieth of the radius if not given.
        restarts: Number of random starts.
        targeted: Whether labels are target classes.

    Returns:
        The attack.

    Raises:
        ValueError: If a number is outside its range; at the call, if images do not have the set's size.
        FileNotFoundError: If there is no set of that name or folder.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 4; steps and step size are
        those of the authors' release.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
        >>> latent_pgd("digits-rts", steps=3)(model, torch.rand(3, 1, 28, 28), torch.arange(3)).images.shape
        torch.Size([3, 1, 28, 28])
    """
    ball = perturbations if isinstance(perturbations, LatentBall) else load(perturbations)
    if radius is not None:
        ball = replace(ball, radius=radius)
    step = step_or_share(step_size, ball.radius, 1 / 20)
    ascent = ProjectedGradient(steps=steps, step_size=step, restarts=restarts, stop_on_success=True)
    return Adversary(ball, CrossEntropy(targeted=targeted), ascent)


@answering
def feature_adversary(
    layers: str | Sequence[str], *, radius: OneOrEach = 10 / 255, activation: Activation = "relu", steps: int = 500
) -> Adversary:
    r"""An image near the source whose inner representation is near that of a guide image.

    .. math:: \min_{x'} \|\phi(x') - \phi(g)\|^2 \quad
        \text{subject to } \|x' - x\|_\infty \le \epsilon, \ 0 \le x' \le 1

    with the output :math:`\phi` of a layer, by L-BFGS in the box. It is called with guide images g in the place of
    labels: ``feature_adversary("layer4")(model, sources, guides)``. The goal counts as never reached.

    Args:
        layers: Names or globs of layers, as for :func:`perturbsets.layer_names`.
        radius: Radius :math:`\epsilon` in L-inf for images in [0, 1].
        activation: ``"relu"`` or ``"none"``: what is applied to the layers' output.
        steps: Largest number of steps.

    Returns:
        The attack.

    Raises:
        ValueError: If a setting is outside its range; at the call, if no layer has the name or guides do not fit.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 3.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> sources, guides = torch.rand(2, 5, 1, 4, 4)
        >>> feature_adversary("1")(model, sources, guides).images.shape
        torch.Size([5, 1, 4, 4])
    """
    return feature_opt(layers, radius=radius, activation=activation, steps=steps)
