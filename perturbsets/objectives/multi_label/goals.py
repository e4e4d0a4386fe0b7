"""When a pattern of labels counts as turned, or as the one asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from jaxtyping import Bool
from torch import Tensor

from perturbsets._types import Flags, LabelLogits, States

Goal = Callable[[LabelLogits, States], Flags]
"""Whether each image counts as turned."""
Wrong = Literal["any", "all"]
"""Which of an image's known labels must be wrong: one at least, or each."""


def wrong(logits: LabelLogits, states: States) -> Bool[Tensor, "B L"]:
    """Labels whose state is known and not the one predicted: on where the logit is above 0."""
    return ~states.isnan() & ((logits > 0) != (states == 1))


def any_wrong(logits: LabelLogits, states: States) -> Flags:
    """Whether one known label of an image is wrong."""
    return wrong(logits, states).any(1)


def all_wrong(logits: LabelLogits, states: States) -> Flags:
    """Whether every known label of an image is wrong."""
    return (wrong(logits, states) | states.isnan()).all(1)


def some_wrong(goal: Wrong) -> Goal:
    """The test that any, or all, known labels are wrong."""
    return {"any": any_wrong, "all": all_wrong}[goal]


def as_asked(logits: LabelLogits, states: States) -> Flags:
    """Whether every label of an image whose state is asked for has it."""
    return ~any_wrong(logits, states)


def check_wrong(goal: str) -> None:
    """Refuses an unknown goal.

    Raises:
        ValueError: The message names the known ones.
    """
    if goal not in get_args(Wrong):
        raise ValueError(f"goal must be one of {list(get_args(Wrong))}, got {goal!r}: which known labels must be wrong")
