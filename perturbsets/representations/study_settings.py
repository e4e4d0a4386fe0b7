"""Settings of a study of representations, which a recipe's section takes over."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from perturbsets.layer_outputs import Activation

Split = Literal["train", "validation", "test"]
Radius = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LEVEL = 1 / 255


def _different(given: list[str]) -> list[str]:
    if len(set(given)) < len(given):
        raise ValueError(f"names must differ, got {given}")
    return given


Different = AfterValidator(_different)
"""The check of a list whose names must differ."""


class StudySettings(BaseModel):
    """Settings of :func:`perturbsets.representations.experiment.study_representations`."""

    model_config = ConfigDict(extra="forbid")

    layers: Annotated[list[str], Field(min_length=1), Different] = Field(
        description="Layers by name or glob, in the order of the network; the last is studied in most detail."
    )
    activation: Activation = Field("relu", description="Activation after the layers.")
    pairs: int = Field(
        100, ge=1, description="Pairs of a source and a guide of different classes, for each split of guides."
    )
    right: bool = Field(True, description="Whether the network classifies all sources and guides correctly.")
    guides: Annotated[list[Split], Field(min_length=1), Different] = Field(
        ["train"], description="Splits that guides come from; all but the comparison of splits use the first."
    )
    reference: int | None = Field(
        None, ge=1, description="Number of training images whose representations count as natural; all by default."
    )
    radius: Radius = Field(10 * LEVEL, description="L-inf radius.")
    radii: list[Radius] = Field(
        [2 * LEVEL, 5 * LEVEL, 10 * LEVEL, 15 * LEVEL, 25 * LEVEL],
        description="L-inf radii at which layers are compared.",
    )
    steps: int = Field(500, ge=1, description="Steps of each search.")
    random: bool = Field(True, description="Whether to repeat it on networks with random weights.")
    shown: int = Field(
        6, ge=1, description="Pairs in the report's pictures, with reconstructions from their representations."
    )
