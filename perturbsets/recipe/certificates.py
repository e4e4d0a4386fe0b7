"""The section on certificates."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field

from perturbsets.certificates import Coverage, CoveringRadius
from perturbsets.recipe.sections import Count, Name, Section
from perturbsets.recipe.settings import section

Chance = Annotated[float, Field(gt=0, lt=1)]


def _positive(sigma: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """The standard deviations themselves, if they are above 0 and finite."""
    if not all(0 < one < math.inf for one in (sigma if isinstance(sigma, tuple) else (sigma,))):
        raise ValueError(f"sigma must be above 0 and finite, got {sigma}")
    return sigma


class SmoothingSection(Section):
    """A classifier's votes under normal noise in the parameters of a set."""

    classifier: Name = Field(description="Name of the classifier; its first seed is asked.")
    set: str = Field(description="Name of a set of the section `sets`, with an L2 ball or composed of such sets.")
    sigma: Annotated[float | tuple[float, ...], AfterValidator(_positive)] = Field(
        description="Standard deviation of the noise, in the set's own unit; of a composed set one for each part."
    )
    images: Count | None = Field(None, description="Number of held-out images, drawn by the seed; all if not given.")
    selection: Count = Field(100, description="Draws from which the class is guessed.")
    draws: Count = Field(1000, description="Draws from which its share is bounded.")
    alpha: Chance = Field(0.001, description="Chance of error of each image's certificate.")
    contradictions: bool = Field(False, description="Whether to attack the certified votes inside their radii.")


class CertifySection(Section):
    """Statements with a confidence, from held-out pairs and votes under noise."""

    coverage: section(Coverage) | None = Field(None, description="How many future pairs the set comes near to.")  # type: ignore[valid-type]
    radius: section(CoveringRadius) | None = Field(None, description="Which radius future pairs need.")  # type: ignore[valid-type]
    smoothing: dict[Name, SmoothingSection] = Field(
        default_factory=dict, description="Votes under noise by name; with `radius`, joint statements too."
    )
