"""Attacks without gradients: Square, rotations and shifts on a grid, and random draws."""

from __future__ import annotations

from typing import Literal

from augment import SpatialChange
from perturbsets._types import OneOrEach
from perturbsets.adversaries import Adversary
from perturbsets.ascents import Ascent, GridSearch, RandomSearch, Square
from perturbsets.attacks.gradient import pixel_ball
from perturbsets.guesses import answering
from perturbsets.objectives import CrossEntropy, Margin
from perturbsets.sets import PerturbationSet, SpatialBox


@answering
def square(
    *,
    norm: Literal["l2", "linf"] = "linf",
    radius: OneOrEach | None = None,
    queries: int = 5000,
    p_init: float = 0.8,
    targeted: bool = False,
) -> Adversary:
    r"""Square attack: random search by squares of pixels, which needs logits but no gradient.

    .. math:: x_{t+1} = \begin{cases} \Pi_\epsilon(x_t + s_t) & \ell(\Pi_\epsilon(x_t + s_t), y) > \ell(x_t, y) \\
        x_t & \text{otherwise} \end{cases}

    with a random square :math:`s_t` that shrinks with t, and the margin :math:`\ell`; the cross-entropy if targeted.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        radius: Radius :math:`\epsilon` for images in [0, 1]; if not given 8/255 in L-inf, 0.5 in L2.
        queries: Largest number of model calls per image; an image is done at its first success.
        p_init: Share of the pixels in the first squares, in (0, 1]; 0.8 as in AutoAttack (the paper: 0.05 on ImageNet).
        targeted: Whether labels are target classes.

    Returns:
        The attack.

    Raises:
        ValueError: If the norm is unknown, or a number outside its range; at the call, if the norm is L1.

    References:
        Andriushchenko, Croce, Flammarion and Hein, *Square attack: a query-efficient black-box adversarial attack via
        random search*, 2020, algorithms 1-3.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> result = square(radius=0.1, queries=20)(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3)
        >>> bool((result.calls <= 20).all())
        True
    """
    objective = CrossEntropy(targeted=True) if targeted else Margin()
    ascent = Square(queries=queries, p_init=p_init, stop_on_success=True)
    return Adversary(pixel_ball(norm, radius), objective, ascent)


@answering
def spatial(
    *,
    rotation: float = 30.0,
    shift: float = 0.1,
    scale: tuple[float, float] = (1.0, 1.0),
    draws: int | None = None,
    targeted: bool = False,
) -> Adversary:
    r"""Rotations and translations: the worst on a grid, or of random draws.

    .. math:: \max_{|\theta| \le \Theta,\ |t_x|, |t_y| \le T} \ell\big(T_{\theta, t_x, t_y}(x), y\big)

    The grid has 31 angles by 5 shifts in each direction, 775 model calls an image, fewer after its first success.

    Args:
        rotation: Largest angle :math:`\Theta` in degrees, to both sides.
        shift: Largest shift T to each side, as a share of the frame.
        scale: Smallest and largest factor of size, not in the paper; 5 points of the grid if they differ.
        draws: Number of random draws in place of the grid; 10 is the paper's "worst-of-10".
        targeted: Whether labels are target classes.

    Returns:
        The attack.

    Raises:
        ValueError: If a range leaves out the unchanged image or is not finite, or there are no draws.

    References:
        Engstrom et al., *Exploring the landscape of spatial robustness*, 2019, sec. 3.2 and 5 (30 degrees and 10 % of
        the frame).

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        >>> spatial(draws=10)(model, torch.rand(5, 1, 8, 8), torch.arange(5) % 3).images.shape
        torch.Size([5, 1, 8, 8])
    """
    box = SpatialBox(change=SpatialChange(rotation=rotation, scale=scale, shift=shift))
    if draws is None:
        angles, factors, shifts = 31 if rotation else 1, 5 if scale[0] < scale[1] else 1, 5 if shift else 1
        ascent: Ascent = GridSearch(points=(angles, factors, shifts, shifts), stop_on_success=True)
    else:
        ascent = RandomSearch(draws=draws)
    return Adversary(box, CrossEntropy(targeted=targeted), ascent)


@answering
def random_search(perturbations: PerturbationSet, *, draws: int = 10, targeted: bool = False) -> Adversary:
    r"""The worst of random draws from any perturbation set; a check of stronger attacks, which must not lose to it.

    .. math:: \max_{i \le n} \ell(g(x, u_i), y), \qquad u_i \sim p_S

    with the set's own distribution :math:`p_S`: uniform in a pixel ball, encodings of real changes in a learned set.

    Args:
        perturbations: The set.
        draws: Number of draws n; 1 measures the average case.
        targeted: Whether labels are target classes.

    Returns:
        The attack.

    Raises:
        ValueError: If there are no draws.

    References:
        Carlini et al., *On evaluating adversarial robustness*, 2019, sec. 4.5 (random search as a check).

    Example:
        >>> import torch
        >>> from perturbsets import PixelBall
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> attack = random_search(PixelBall("linf", radius=0.1), draws=5)
        >>> attack(model, torch.rand(5, 1, 4, 4), torch.arange(5) % 3).calls
        tensor([5, 5, 5, 5, 5])
    """
    return Adversary(perturbations, CrossEntropy(targeted=targeted), RandomSearch(draws=draws))
