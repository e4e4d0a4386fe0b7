"""Projected gradient ascent: FGSM, BIM, PGD and, with momentum, MI-FGSM; and Adam."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch

from perturbsets._types import Offsets, OneOrEach
from perturbsets.ascents.base import CHECK_EVERY, Active, Best, GradientBased, finite_radii
from perturbsets.objectives.base import Loss
from perturbsets.rows import check_choice, for_each
from perturbsets.sets.base import Region, Starts

Schedule = Literal["constant", "linear", "cosine"]


def shares(schedule: Schedule, steps: int) -> list[float]:
    r"""The share of the step size that each of the steps takes.

    .. math:: 1, \qquad 1 - t/T, \qquad \tfrac12 \big(1 + \cos(\pi t/T)\big), \qquad t = 0, \dots, T-1

    for ``"constant"``, ``"linear"`` and ``"cosine"`` (Loshchilov and Hutter, *SGDR*, 2017, eq. 5).
    """
    if schedule == "linear":
        return [1 - step / steps for step in range(steps)]
    if schedule == "cosine":
        return [(1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    return [1.0] * steps


class Climb(Active):
    """Projected steps along the gradient itself; subclasses turn the gradients so far into another direction."""

    def __init__(self, region: Region, loss: Loss, start: Offsets, best: Best, step_size: OneOrEach) -> None:
        super().__init__(region, loss, best)
        self.u, self.sizes = start.detach(), for_each(step_size, start, "step_size")[:, None]

    def direction(self, gradient: Offsets) -> Offsets:
        """The next step, before its size."""
        return gradient

    def run(self, steps: int, *, schedule: Schedule = "constant", stop_on_success: bool = False) -> None:
        """Takes the steps; each costs one forward and one backward pass, and one forward more in all."""
        for step, share in enumerate(shares(schedule, steps)):
            if step % CHECK_EVERY == 0 and not self.any_left(drop=stop_on_success):
                return
            _, gradient = self.differentiate(self.u)
            self.u = self.region.project(torch.addcmul(self.u, share * self.sizes, self.direction(gradient)))
        checked_last = steps % CHECK_EVERY == 0  # else images are left: the check before the last steps found some
        if not checked_last or self.any_left(drop=stop_on_success):
            self.evaluate(self.u)


class SteepestClimb(Climb):
    """The unit step of the region's own norm, along a running sum of gradients."""

    def __init__(
        self, region: Region, loss: Loss, start: Offsets, best: Best, step_size: OneOrEach, momentum: float = 0.0
    ) -> None:
        super().__init__(region, loss, start, best, step_size)
        self.momentum, self.velocity = momentum, torch.zeros_like(self.u)

    def direction(self, gradient: Offsets) -> Offsets:
        if self.momentum:
            mean = gradient.abs().mean(1, keepdim=True)
            self.velocity = gradient = self.momentum * self.velocity + gradient / mean.where(mean > 0, 1)
        return self.region.steepest(gradient)


class AdamClimb(Climb):
    """Adam's step: the mean gradient over the root of the mean squared one, coordinate by coordinate."""

    def __init__(
        self, region: Region, loss: Loss, start: Offsets, best: Best, step_size: OneOrEach, betas: tuple[float, float]
    ) -> None:
        super().__init__(region, loss, start, best, step_size)
        self.betas, self.steps = betas, 0
        self.mean, self.square = torch.zeros_like(self.u), torch.zeros_like(self.u)

    def direction(self, gradient: Offsets) -> Offsets:
        self.steps += 1
        first, second = self.betas
        self.mean, self.square = self.mean.lerp(gradient, 1 - first), self.square.lerp(gradient.square(), 1 - second)
        root = (self.square / (1 - second**self.steps)).sqrt()
        return self.mean / (1 - first**self.steps) / (root + torch.finfo(root.dtype).tiny ** 0.5)


@dataclass(frozen=True)
class GradientAscent(GradientBased):
    r"""Steps along the gradient itself, not its direction; projected only where the region has a limit.

    .. math:: u_{t+1} = \Pi_B(u_t + \eta \nabla_t)

    Args:
        steps: Number of steps.
        step_size: Step :math:`\eta > 0` per unit of gradient; a number, or one per image.
        stop_on_success: Whether images whose attack succeeded leave the computation.

    Raises:
        ValueError: If there are no steps, or the step size is not above 0.
    """

    steps: int = 20
    _: KW_ONLY
    step_size: OneOrEach
    stop_on_success: bool = False

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        Climb(region, loss, start, best, self.step_size).run(self.steps, stop_on_success=self.stop_on_success)


@dataclass(frozen=True, kw_only=True)
class OneStep(GradientBased):
    r"""One steepest step: FGSM in L-inf, FGM in L2.

    .. math:: u = \Pi_B\big(u_0 + \eta\, d(\nabla)\big)

    Args:
        step_size: Step :math:`\eta > 0` in the set's own unit; the radius if not given.
        starts: Where :math:`u_0` lies: at ``"zero"``, ``"uniform"`` in the region (fast adversarial training), or at
            a ``"sample"`` of the set's own distribution.
        keep_best: Whether the start is returned where the step lowers the loss. Without it the end of the step is,
            as the attack was published.

    Raises:
        ValueError: If the step size is not above 0, or the starts are unknown.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4;
        Wong, Rice and Kolter, *Fast is better than free*, 2020 (random start).
    """

    step_size: OneOrEach | None = None
    starts: Starts = "zero"
    keep_best: bool = True

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        size = finite_radii(region) if self.step_size is None else self.step_size
        climb = SteepestClimb(region, loss, start, best, size)
        if self.keep_best:
            climb.run(1)
            return
        _, gradient = climb.differentiate(climb.u, record=False)
        climb.evaluate(region.project(climb.u + climb.sizes * region.steepest(gradient)))


@dataclass(frozen=True)
class ProjectedGradient(GradientBased):
    r"""Steepest steps, each projected back into the region; several starts, the best point of all.

    .. math:: u_{t+1} = \Pi_B\big(u_t + s_t \eta\, d(m_t)\big), \qquad
        m_t = \mu\, m_{t-1} + \nabla_t / \overline{|\nabla_t|}

    with the schedule's share :math:`s_t` of the step; without momentum :math:`\mu` the gradient itself counts.

    Args:
        steps: Number of steps per start.
        step_size: Step :math:`\eta > 0` in the set's own unit; a quarter of the radius if not given.
        restarts: Number of starts.
        starts: Where to begin: ``"uniform"`` in the region, at a ``"sample"`` of the set's own distribution (in
            training against a learned set, near changes that do happen), or at ``"zero"``, once.
        momentum: Weight :math:`\mu \ge 0` of former gradients; 1 is MI-FGSM.
        schedule: How the step shrinks: ``"constant"`` not at all, ``"linear"`` or ``"cosine"`` towards zero.
        stop_on_success: Whether images whose attack succeeded leave the computation; not for training.

    Raises:
        ValueError: If a setting is outside its range, or several starts would be the same.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018, sec. 2.1;
        Kurakin et al., *Adversarial examples in the physical world*, 2017 (BIM);
        Dong et al., *Boosting adversarial attacks with momentum*, 2018, algorithm 1.
    """

    steps: int = 20
    _: KW_ONLY
    step_size: OneOrEach | None = None
    restarts: int = 1
    starts: Starts = "uniform"
    momentum: float = 0.0
    schedule: Schedule = "constant"
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("schedule", self.schedule, Schedule)
        if not self.momentum >= 0:
            raise ValueError(f"momentum must be 0 or more, got {self.momentum}")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        size = finite_radii(region) / 4 if self.step_size is None else self.step_size
        climb = SteepestClimb(region, loss, start, best, size, self.momentum)
        climb.run(self.steps, schedule=self.schedule, stop_on_success=self.stop_on_success)


@dataclass(frozen=True)
class ProjectedAdam(GradientBased):
    r"""Adam's steps, each projected back into the region; for losses whose coordinates differ much in scale.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1) \nabla_t, \quad v_t = \beta_2 v_{t-1} + (1-\beta_2) \nabla_t^2, \quad
        u_{t+1} = \Pi_B\Big(u_t + \eta\, \frac{m_t / (1-\beta_1^t)}{\sqrt{v_t / (1-\beta_2^t)} + \delta}\Big)

    with :math:`\delta` the root of the smallest normal number, so that the scale of the gradients makes no difference.

    Args:
        steps: Number of steps per start.
        step_size: Step :math:`\eta > 0` of each coordinate, in the set's own unit; a tenth of the radius if not given.
        betas: Weights of the former mean and mean square, each in [0, 1).
        restarts: Number of starts.
        starts: Where to begin: ``"zero"``, ``"uniform"`` in the region, or at a ``"sample"`` of the set.
        schedule: As for :class:`ProjectedGradient`.
        stop_on_success: As for :class:`ProjectedGradient`.

    Raises:
        ValueError: If a setting is outside its range, or several starts would be the same.

    References:
        Kingma and Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1.
    """

    steps: int = 50
    _: KW_ONLY
    step_size: OneOrEach | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    restarts: int = 1
    starts: Starts = "uniform"
    schedule: Schedule = "constant"
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("schedule", self.schedule, Schedule)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        size = finite_radii(region) / 10 if self.step_size is None else self.step_size
        climb = AdamClimb(region, loss, start, best, size, self.betas)
        climb.run(self.steps, schedule=self.schedule, stop_on_success=self.stop_on_success)
