"""The section on representations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perturbsets.recipe.parts import part
from perturbsets.recipe.sections import Count, Different, Name, Radius, Section

Split = Literal["train", "validation", "test"]
LEVEL = 1 / 255


class RepresentationsSection(Section):
    """Feature adversaries of a classifier, and what they show about its representations."""

    classifier: Name | None = Field(
        None, description="Name of the trained classifier; its first seed is looked at, others see what fools it."
    )
    network: part("classifier") | None = Field(  # type: ignore[valid-type]
        None, description="A network that needs no training, such as a published one, instead of a trained classifier."
    )
    layers: Annotated[list[str], Field(min_length=1), Different] = Field(
        description="Layers by name or pattern, in the order of the network; the last is looked at most closely."
    )
    activation: Literal["relu", "none"] = Field("relu", description="Whether representations are taken after a ReLU.")
    pairs: Count = Field(100, description="Pairs of a source and a guide of different classes, for each kind of guide.")
    right: bool = Field(True, description="Whether sources and guides are only such that the network has right.")
    guides: Annotated[list[Split], Field(min_length=1), Different] = Field(
        ["train"], description="Splits that guides come from, kept apart; all but guides by split use the first."
    )
    reference: Count | None = Field(
        None, description="Training images that natural points come from; all if not given."
    )
    radius: Radius = Field(10 * LEVEL, description="Largest change of a pixel.")
    radii: list[Radius] = Field(
        [2 * LEVEL, 5 * LEVEL, 10 * LEVEL, 15 * LEVEL, 25 * LEVEL],
        description="Changes over which layers are compared.",
    )
    steps: Count = Field(500, description="Steps of each search.")
    random: bool = Field(True, description="Whether the same is done on networks with random weights.")
    sets: Annotated[list[Name], Different] = Field(
        [], description="Sets of the section `sets` in which the same representation is looked for."
    )
    ascent: part("ascent") | None = Field(  # type: ignore[valid-type]
        None, description="How to climb in these sets; projected L-BFGS if not given."
    )
    shown: Count = Field(6, description="Pairs in the report's pictures, with images made from their representations.")
