"""What a recipe says."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from cvae import FitSettings, LoopSettings
from cvae.schedule import tabulate
from perturbsets.plan import planned
from perturbsets.recipe.assembly import schedule
from perturbsets.recipe.certificates import CertifySection
from perturbsets.recipe.labelling import HelperSection, LabelsSection
from perturbsets.recipe.misfits import misfits
from perturbsets.recipe.parts import part
from perturbsets.recipe.representing import RepresentationsSection
from perturbsets.recipe.sections import (
    AdversarySection,
    CheckSection,
    EvaluateSection,
    MethodPart,
    Name,
    PairsSection,
    SchedulePart,
    Section,
    SetPart,
    SetSection,
    ValidationSection,
)
from perturbsets.recipe.settings import section


class Recipe(Section):
    """A recipe: from pairs over a learned set and its checks to classifiers and a report, or some of these.

    What a recipe leaves out is not done: without a model nothing is learned, without classifiers none are trained.
    """

    seed: Annotated[int, Field(ge=0)] = Field(0, description="Split per stage by name.")
    output: str = Field(description="The run folder.")
    source: part("source") | None = Field(None, description="Clean images with labels.")  # type: ignore[valid-type]
    change: part("change") | None = Field(None, description="What changes them.")  # type: ignore[valid-type]
    unseen: part("change") | None = Field(  # type: ignore[valid-type]
        None, description="Held-out conditions: what changes half of the test images into pairs of a split `unseen`."
    )
    pairs: PairsSection = Field(default_factory=PairsSection)  # type: ignore[arg-type]
    model: part("model") | None = Field(None, description="The CVAE; its image shape comes from the pairs.")  # type: ignore[valid-type]
    fit: section(FitSettings) = Field(default_factory=section(FitSettings))  # type: ignore[valid-type]
    set: SetSection = Field(default_factory=SetSection)  # type: ignore[arg-type]
    check: CheckSection = Field(default_factory=CheckSection)  # type: ignore[arg-type]
    learned: str | None = Field(None, description="A learned set that is there already: its folder or its run's.")
    sets: dict[Name, SetPart] = Field(default_factory=dict, description="Sets by name.")  # type: ignore[valid-type]
    helper: HelperSection | None = Field(None, description="A multi-label classifier that helps; none if not given.")
    classifier: part("classifier") | None = Field(None, description="The network to train.")  # type: ignore[valid-type]
    train: section(LoopSettings) = Field(default_factory=section(LoopSettings))  # type: ignore[valid-type]
    schedule: SchedulePart | None = Field(  # type: ignore[valid-type]
        None, description="Learning rates of the classifiers, instead of the rise and fall of `train`."
    )
    validation: ValidationSection | None = Field(  # type: ignore[valid-type]
        None, description="Selects each classifier's weights by robust accuracy; without it the last are kept."
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        [0], description="Each classifier is trained once per seed."
    )
    classifiers: Annotated[dict[Name, MethodPart], Field(min_length=1)] | None = Field(  # type: ignore[valid-type]
        None, description="How each classifier is trained."
    )
    trained: str | None = Field(None, description="A run whose classifiers are judged, instead of training any.")
    adversaries: dict[Name, AdversarySection] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="Adversaries by name."
    )
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection)  # type: ignore[arg-type]
    certify: CertifySection | None = Field(None, description="Certificates; none if not given.")
    representations: RepresentationsSection | None = Field(
        None, description="Feature adversaries and what they show of a network's representations; none if not given."
    )
    labels: LabelsSection | None = Field(
        None, description="Attacks on the helper's labels, and what rules detect; none if not given."
    )

    @property
    def stages(self) -> list[str]:
        """The stages that it calls for, in order."""
        return planned(self.model_dump(exclude_unset=True))

    def resolved(self) -> dict[str, Any]:
        """Every value as JSON has it, but for sections that nothing here has use for."""
        stages = self.stages
        unused = {
            *(() if "fit" in stages else ("fit", "set", "check")),
            *(() if "pairs" in stages or self.pairs.path is not None else ("pairs",)),
            *(() if "train" in stages else ("train", "schedule", "validation")),
        }
        return self.model_dump(mode="json", exclude=unused)

    @field_validator("schedule")
    @classmethod
    def _schedule_lasts(cls, given: Any, info: Any) -> Any:
        train = info.data.get("train")
        if given is not None and train is not None:
            tabulate(schedule(given, train.steps), train.steps, train.learning_rate)
        return given

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Recipe:
        faults = list(misfits(self.model_dump(exclude_unset=True)))
        if faults:
            raise ValueError("; ".join(faults))
        return self
