"""Projected gradient ascent: BIM, PGD and, with momentum, MI-FGSM."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch

from perturbsets._types import Offsets, OneOrEach
from perturbsets.ascents.base import Ascent, Best, Restarted
from perturbsets.ascents.climb import (
    Adaptive,
    Plain,
    Schedule,
    Steepest,
    check_schedule,
    check_steps,
    climb,
    finite_radii,
    set_step_size,
    slope,
)
from perturbsets.objectives.base import Loss
from perturbsets.per_image import for_each
from perturbsets.sets.base import Region, Starts, check_starts

# Plain gradient ascent.


@dataclass(frozen=True)
class GradientAscent(Ascent):
    r"""Steps along the gradient itself, not its direction; projected only where the region has a limit.

    .. math:: u_{t+1} = \Pi_B(u_t + \eta \nabla_t)

    Args:
        steps: Number of steps.
        step_size: Step :math:`\eta > 0` per unit of gradient; a number, or one per image.
        stop_on_success: Whether images that reached the goal leave the computation.

    Raises:
        ValueError: If there are no steps, or the step size is not above 0.
    """

    steps: int = 20
    _: KW_ONLY
    step_size: OneOrEach
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        check_steps(self.steps)
        set_step_size(self)

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        best = Best(region, loss)
        climb(
            region,
            loss,
            region.centre() if start is None else region.project(start),
            best,
            steps=self.steps,
            step_size=self.step_size,
            direction=Plain(),
            stop_on_success=self.stop_on_success,
        )
        return best


# One step to the edge: the fast gradient sign method and its relatives.


@dataclass(frozen=True, kw_only=True)
class OneStep(Ascent):
    r"""One steepest step, FGSM in L-inf and FGM in L2.

    .. math:: u = \Pi_B\big(u_0 + \eta\, d(\nabla)\big)

    Args:
        step_size: Step :math:`\eta > 0` in the set's own unit; the radius if not given.
        starts: Where :math:`u_0` lies: at ``"zero"``, ``"uniform"`` in the region (fast adversarial training), or at
            a ``"sample"`` of the set's own distribution.
        keep_best: Whether the start is returned where the step lowers the value. Without it the step counts wherever it
            leads, as the attack was published.

    Raises:
        ValueError: If the step size is not above 0, or the starts are unknown.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015, sec. 4;
        Wong, Rice and Kolter, *Fast is better than free*, 2020 (random start).
    """

    step_size: OneOrEach | None = None
    starts: Starts = "zero"
    keep_best: bool = True

    def __post_init__(self) -> None:
        set_step_size(self)
        check_starts(self.starts)

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        first = region.start(self.starts, generator=generator) if start is None else region.project(start)
        size = finite_radii(region) if self.step_size is None else self.step_size
        best = Best(region, loss)
        if self.keep_best:
            climb(region, loss, first, best, steps=1, step_size=size, direction=Steepest())
        else:
            _leap(region, loss, first, best, size)
        return best


def _leap(region: Region, loss: Loss, start: Offsets, best: Best, size: OneOrEach) -> None:
    """The step, of which only the end goes to ``best``."""
    u = start.detach().requires_grad_()
    gradient = slope(loss(region.decode(u), u)[0], u)
    best.calls += 1
    sizes = for_each(size, u, "step_size")[:, None]
    with torch.no_grad():
        u = region.project(u + sizes * region.steepest(gradient))
        images = region.decode(u)
        best.update(u, images, *loss(images, u))


@dataclass(frozen=True)
class ProjectedGradient(Restarted):
    r"""Steepest steps, each projected back into the region; several starts, the best point of all.

    .. math:: u_{t+1} = \Pi_B\big(u_t + \eta\, d(\nabla_t)\big)

    Args:
        steps: Number of steps per start.
        step_size: Step :math:`\eta > 0` in the set's own unit; a quarter of the radius if not given. A number,
            or one per image.
        restarts: Number of starts.
        starts: Where to begin: ``"uniform"`` in the region, at a ``"sample"`` of the set's own distribution (in
            training against a learned set, near changes that do happen), or at ``"zero"``, once.
        momentum: Weight of former gradients, 0 or more; 1 is MI-FGSM.
        schedule: How the step shrinks: ``"constant"`` not at all, ``"linear"`` or ``"cosine"`` towards zero.
        stop_on_success: Whether images that reached the goal leave the computation, also before later
            starts. Leave it off in training.

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
        check_steps(self.steps)
        set_step_size(self)
        check_starts(self.starts, self.restarts)
        check_schedule(self.schedule)
        if not self.momentum >= 0:
            raise ValueError(f"momentum must be 0 or more, got {self.momentum}")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        climb(
            region,
            loss,
            start,
            best,
            steps=self.steps,
            step_size=finite_radii(region) / 4 if self.step_size is None else self.step_size,
            direction=Steepest(self.momentum),
            schedule=self.schedule,
            stop_on_success=self.stop_on_success,
        )


# Adam on projected offsets.


@dataclass(frozen=True)
class ProjectedAdam(Restarted):
    r"""Adam's steps, each projected back into the region; for losses whose coordinates differ much in scale.

    .. math:: u_{t+1} = \Pi_B\big(u_t + \eta\, m_t / (\sqrt{v_t} + \delta)\big)

    Args:
        steps: Number of steps per start.
        step_size: Step :math:`\eta > 0` of each coordinate, in the set's own unit; a tenth of the radius if not
            given. A number, or one per image.
        betas: Weights of the former mean and mean square, each in [0, 1).
        restarts: Number of starts.
        starts: Where to begin: ``"zero"``, ``"uniform"`` in the region, or at a ``"sample"`` of the set.
        schedule: How the step shrinks: ``"constant"`` not at all, ``"linear"`` or ``"cosine"`` towards zero.
        stop_on_success: Whether images that reached the goal leave the computation.

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
        check_steps(self.steps)
        set_step_size(self)
        check_starts(self.starts, self.restarts)
        check_schedule(self.schedule)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        climb(
            region,
            loss,
            start,
            best,
            steps=self.steps,
            step_size=finite_radii(region) / 10 if self.step_size is None else self.step_size,
            direction=Adaptive(self.betas, delta=torch.finfo(start.dtype).tiny ** 0.5),
            schedule=self.schedule,
            stop_on_success=self.stop_on_success,
        )
