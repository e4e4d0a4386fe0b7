"""How the steps of a climb shrink."""

from __future__ import annotations

import math
from typing import Literal, get_args

Schedule = Literal["constant", "linear", "cosine"]


def shares(schedule: Schedule, steps: int) -> list[float]:
    r"""The share of the step size that each of the steps takes.

    .. math:: 1, \qquad 1 - t/T, \qquad \tfrac12 \big(1 + \cos(\pi t/T)\big), \qquad t = 0, \dots, T-1

    for ``"constant"``, ``"linear"`` and ``"cosine"``: all begin with the whole step, and the latter two shrink towards
    zero, for fine searches.

    Args:
        schedule: Which of them.
        steps: Number of steps :math:`T`.

    Returns:
        A share per step, in [0, 1].

    References:
        Loshchilov and Hutter, *SGDR: stochastic gradient descent with warm restarts*, 2017, eq. 5 (cosine).
    """
    if schedule == "linear":
        return [1 - step / steps for step in range(steps)]
    if schedule == "cosine":
        return [(1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    return [1.0] * steps


def check_schedule(schedule: str) -> None:
    """Refuses schedules that do not exist.

    Raises:
        ValueError: If the schedule is unknown.
    """
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule must be one of {list(get_args(Schedule))}, got {schedule!r}")
