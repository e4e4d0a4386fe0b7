"""Projected gradient ascent: BIM, PGD and, with momentum, MI-FGSM."""

from __future__ import annotations

from dataclasses import dataclass

from perturbsets._types import Offsets, OneOrEach
from perturbsets.ascents.base import Best
from perturbsets.ascents.climb import check_steps, climb, finite_radii, set_step_size
from perturbsets.ascents.directions import Steepest
from perturbsets.ascents.restarted import Restarted
from perturbsets.ascents.schedule import Schedule, check_schedule
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region, Starts, check_starts


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
        stop_when_reached: Whether images that reached the goal leave the computation, also before later
            starts. Leave it off in training.

    Raises:
        ValueError: If a setting is outside its range, or several starts would be the same.

    References:
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018, sec. 2.1;
        Kurakin et al., *Adversarial examples in the physical world*, 2017 (BIM);
        Dong et al., *Boosting adversarial attacks with momentum*, 2018, algorithm 1.
    """

    steps: int = 20
    step_size: OneOrEach | None = None
    restarts: int = 1
    starts: Starts = "uniform"
    momentum: float = 0.0
    schedule: Schedule = "constant"
    stop_when_reached: bool = False

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
            stop_when_reached=self.stop_when_reached,
        )
