"""What a recipe says: its sections and their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from cvae import FitSettings, LoopSettings
from cvae.schedule import tabulate
from perturbsets.criteria import NecessarySubset, SufficientLikelihood
from perturbsets.recipe.assembly import schedule, tried_method
from perturbsets.recipe.parts import ALLOWED, part
from perturbsets.recipe.settings import section

LEARNING = ("pairs", "fit", "set", "check")  # sections that only a model has use for
NOT_SPATIAL = set(ALLOWED["change"]) - {"augment.SpatialChange"}

Share = Annotated[float, Field(gt=0, le=1)]
Radius = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Section(BaseModel):
    """A section: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class PairsSection(Section):
    """How many pairs to make, and how to store them."""

    train: Count = Field(20, description="Changed versions of each training image.")
    validation: Count = Field(4, description="Changed versions of each validation image.")
    test: Count = Field(4, description="Changed versions of each test image.")
    dtype: Literal["uint8", "float32"] = Field("uint8", description="How values are stored.")


class SetSection(Section):
    """The learned set's ball."""

    quantile: Share = Field(1.0, description="Share of the validation encodings that the radius holds.")
    radius: Radius | None = Field(None, description="Fixed radius instead.")
    bank: Count = Field(4096, description="Training encodings kept for draws.")


class CheckSection(Section):
    """The criteria, measured on test pairs."""

    necessary: section(NecessarySubset) = Field(default_factory=section(NecessarySubset))  # type: ignore[valid-type]
    sufficient: section(SufficientLikelihood) = Field(default_factory=section(SufficientLikelihood))  # type: ignore[valid-type]


class AuditSection(Section):
    """How the audit looks at each attack on each classifier."""

    images: Count = Field(64, description="Number of test images.")
    draws: Count = Field(50, description="Random draws to beat.")


class RobustnessSection(Section):
    """The fixed ensemble of strong attacks, on every classifier."""

    sets: Annotated[list[Name], Field(min_length=1)] = Field(description="Names of the sets, all of which count.")
    images: Count | None = Field(None, description="Number of test images; all that are evaluated if not given.")
    steps: Count = Field(100, description="Steps of each APGD.")
    queries: Count = Field(5000, description="Model calls of Square for each image.")
    targets: Count = Field(9, description="Largest number of wrong classes to aim at.")


class EvaluateSection(Section):
    """What classifiers are judged on."""

    images: Count | None = Field(None, description="Number of test images, from the first; all if not given.")
    shown: Count = Field(8, description="Images in the report's pictures of attacks.")
    audit: AuditSection = Field(default_factory=AuditSection)  # type: ignore[arg-type]
    robustness: RobustnessSection | None = Field(None, description="The fixed ensemble; left out if not given.")


_ADVERSARY: dict[str, Any] = {
    "set": (str, Field(description="Name of a set of the section `sets`.")),
    "objective": (
        part("objective"),
        Field(default_factory=lambda: _default_objective(), validate_default=True),
    ),
    "ascent": (part("ascent"), ...),
}


def _default_objective() -> dict[str, str]:
    return {"build": "perturbsets.CrossEntropy"}


AdversarySection = create_model(
    "AdversarySection", __base__=Section, __doc__="Set, objective and ascent.", **_ADVERSARY
)
SetPart = part(
    "set",
    LatentBall={
        "radius": (
            Radius | None,
            Field(None, description="Radius of its own; the one measured from pairs if not given."),
        )
    },
    Compose={
        "sets": (
            Annotated[list[Name], Field(min_length=2)],
            Field(description="Names of sets that stand above this one, in the order in which they act."),
        )
    },
)
ValidationSection = create_model(
    "ValidationSection",
    __base__=AdversarySection,
    __doc__="Robust accuracy on validation images, which selects the weights and ends a training where it falls.",
    images=(Count, Field(256, description="Number of validation images, drawn once.")),
    drop=(Annotated[float, Field(ge=0, le=1)], Field(0.2, description="Fall below the best that ends a training.")),
)


def _tried(*kinds: Any) -> Any:
    """The type of a method's part that is one of several kinds and that its method does not refuse."""
    return Annotated[reduce(or_, kinds), Field(discriminator="build"), AfterValidator(tried_method)]


_SET = {"set": _ADVERSARY["set"]}
_Plain = part(
    "method",
    Augmented=_SET,
    Adversarial=_ADVERSARY,
    FastAdversarial=_SET,
    LargerOfBoth=_ADVERSARY,
    TRADES=_SET | {"ascent": _ADVERSARY["ascent"]},
    MART=_ADVERSARY,
)
_Aligned = part("method that aligns gradients", GradientAlignment=_SET | {"method": (_tried(_Plain), ...)})
_Moved = part("method that moves weights", AdversarialWeights={"method": (_tried(_Plain, _Aligned), ...)})
_Replaying = part("method that replays", FreeAdversarial=_SET)
MethodPart = _tried(_Plain, _Aligned, _Moved, _Replaying)
SchedulePart = part(
    "schedule",
    CosineAnnealingLR={"T_max": (Count | None, Field(None, description="Steps to the lowest rate; all if not given."))},
    MultiStepLR={"milestones": (list[Count], Field(description="Steps at which the rate falls."))},
)


class Recipe(Section):
    """A recipe: from pairs over a learned set and its checks to classifiers and a report.

    Without a model nothing is learned: no pairs, fit and check, and no learned sets.
    """

    seed: Annotated[int, Field(ge=0)] = Field(0, description="Split per stage by name.")
    output: str = Field(description="The run folder.")
    source: part("source") = Field(description="Clean images with labels.")  # type: ignore[valid-type]
    change: part("change") | None = Field(None, description="What changes them.")  # type: ignore[valid-type]
    pairs: PairsSection = Field(default_factory=PairsSection)  # type: ignore[arg-type]
    model: part("model") | None = Field(None, description="The CVAE; its image shape comes from the pairs.")  # type: ignore[valid-type]
    fit: section(FitSettings) = Field(default_factory=section(FitSettings))  # type: ignore[valid-type]
    set: SetSection = Field(default_factory=SetSection)  # type: ignore[arg-type]
    check: CheckSection = Field(default_factory=CheckSection)
    sets: dict[Name, SetPart] = Field(description="Sets by name, for classifiers and adversaries.")  # type: ignore[valid-type]
    classifier: part("classifier") = Field(description="The network to train.")  # type: ignore[valid-type]
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
    classifiers: dict[Name, MethodPart] = Field(min_length=1, description="How each classifier is trained.")  # type: ignore[valid-type]
    adversaries: dict[Name, AdversarySection] = Field(description="Adversaries by name.")  # type: ignore[valid-type]
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection)  # type: ignore[arg-type]

    def resolved(self) -> dict[str, Any]:
        """Every value as JSON has it, but for sections that only a model has use for where there is none."""
        return self.model_dump(mode="json", exclude=set(LEARNING) if self.model is None else None)

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


def misfits(content: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between the sections of a recipe, each of which may have faults of its own."""
    yield from _unmet(content)
    sets = _mapping(content, "sets")
    for place, wanted in _sets_named(content):
        if wanted not in sets:
            yield f"{place} must be one of {sorted(map(str, sets))}, got {wanted!r}"
    if "clean" in _mapping(content, "adversaries"):
        yield "adversaries.clean must have another name: clean is the column without an adversary"
    seeds = content.get("seeds", [])
    if isinstance(seeds, list) and len({str(seed) for seed in seeds}) < len(seeds):
        yield f"seeds must differ, got {seeds}"
    precisions = [_mapping(content, name).get("mixed_precision", "no") for name in ("fit", "train")]
    if precisions[0] != precisions[1]:
        yield f"train.mixed_precision must be that of fit, since one process has one, got {precisions[1]!r}"


def _sets_named(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a recipe names sets, and which."""
    evaluated = _mapping(_mapping(content, "evaluate"), "robustness")
    for number, wanted in enumerate(_names(evaluated)):
        yield f"evaluate.robustness.sets.{number}", wanted
    users = {"validation": content.get("validation")}
    for section_name in ("classifiers", "adversaries"):
        users |= {f"{section_name}.{name}": user for name, user in _mapping(content, section_name).items()}
    for place, user in users.items():
        while isinstance(user, dict):
            if isinstance(user.get("set"), str):
                yield f"{place}.set", user["set"]
            place, user = f"{place}.method", user.get("method")


def _unmet(content: Mapping[str, Any]) -> Iterator[str]:
    """Sections without what they rest on."""
    if content.get("model") is None:
        for name in LEARNING:
            if name in content:
                yield f"{name} must come with a model, got none: without one nothing is learned"
    elif content.get("change") is None:
        yield "model must come with a change, got none: pairs are made by one"
    rests = {"perturbsets.LatentBall": "model", "perturbsets.SpatialBox": "change"}
    above: list[str] = []
    for name, made in _mapping(content, "sets").items():
        kind = made.get("build") if isinstance(made, dict) else None
        needed = rests.get(str(kind))
        if needed is not None and content.get(needed) is None:
            yield f"sets.{name} must come with a {needed} in the recipe, got none"
        if kind == "perturbsets.SpatialBox" and _mapping(content, "change").get("build") in NOT_SPATIAL:
            yield f"sets.{name} must come with augment.SpatialChange as the recipe's change, for its ranges"
        if kind == "perturbsets.Compose":
            for wanted in _names(made):
                if wanted not in above:
                    yield f"sets.{name}.sets must name sets that stand above it, {above}, got {wanted!r}"
        above.append(str(name))


def _names(content: Mapping[str, Any]) -> list[str]:
    given = content.get("sets")
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}
