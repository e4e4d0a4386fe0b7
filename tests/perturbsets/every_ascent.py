"""Every ascent, in the forms that matter, for the tests that all of them must pass."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from perturbsets import (
    APGD,
    AcceleratedGradient,
    Ascent,
    GradientAscent,
    GridSearch,
    OneStep,
    PerturbationSet,
    PixelBall,
    ProjectedAdam,
    ProjectedGradient,
    ProjectedLBFGS,
    RandomSearch,
    SpatialBox,
    Square,
)

ASCENTS: list[Ascent] = [
    GradientAscent(step_size=0.1, steps=4),
    GradientAscent(step_size=0.1, steps=7, stop_on_success=True),
    OneStep(),
    OneStep(starts="uniform"),
    ProjectedGradient(4),
    ProjectedGradient(4, restarts=2, momentum=1.0, schedule="cosine"),
    ProjectedGradient(7, schedule="linear", stop_on_success=True),
    ProjectedAdam(4),
    ProjectedAdam(4, restarts=2, schedule="cosine"),
    ProjectedAdam(7, stop_on_success=True),
    APGD(9),
    APGD(9, restarts=2, starts="sample"),
    APGD(9, stop_on_success=True),
    ProjectedLBFGS(8),
    ProjectedLBFGS(8, memory=2, restarts=2, starts="uniform"),
    ProjectedLBFGS(8, stop_on_success=True),
    AcceleratedGradient(8),
    AcceleratedGradient(8, stop_on_success=True),
    RandomSearch(3),
    Square(12),
    Square(12, stop_on_success=True),
    GridSearch(2),
    GridSearch(3, stop_on_success=True),
]

ONE_EACH: list[Ascent] = list({type(ascent): ascent for ascent in reversed(ASCENTS)}.values())[::-1]
"""The first of each class, for what all classes share."""

Norm = Literal["l1", "l2", "linf"]


def pixels_or_else_places(
    ascent: Ascent, images: Tensor, norm: Norm = "linf", radius: float | Tensor = 0.2
) -> PerturbationSet:
    """The first set that the ascent fits."""
    choices = PixelBall(norm, radius), PixelBall("l2", radius), SpatialBox(radius=radius)
    return next(choice for choice in choices if ascent.misfit(choice.at(images.detach())) is None)


def is_stopping(ascent: Ascent) -> bool:
    """Whether images that are reached leave the computation."""
    return getattr(ascent, "stop_on_success", False)
