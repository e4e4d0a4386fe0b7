"""The sections of a recipe and their types."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from perturbsets.criteria import NecessarySubset, OverApproximation, SufficientLikelihood, Theorems
from perturbsets.layer_outputs import Activation
from perturbsets.recipe.assembly import section, tried_method
from perturbsets.recipe.parts import part

Share = Annotated[float, Field(gt=0, le=1)]
Radius = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def _different(given: list[str]) -> list[str]:
    if len(set(given)) < len(given):
        raise ValueError(f"names must differ, got {given}")
    return given


Different = AfterValidator(_different)
"""For a list of names."""


class Section(BaseModel):
    """A section: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class PairsSection(Section):
    """How many pairs to make of the source by the change, or where they are; and how to store them."""

    train: Count = Field(20, description="Changed versions of each training image.")
    validation: Count = Field(4, description="Changed versions of each validation image.")
    test: Count = Field(4, description="Changed versions of each test image.")
    unseen: Count = Field(4, description="Changed versions of each test image kept for unseen conditions.")
    dtype: Literal["uint8", "float32"] = Field("uint8", description="How values are stored.")

    processes: Count = Field(1, description="Processes that change images.")
    strict: bool = Field(False, description="Whether an image that cannot be read ends the work; else it is skipped.")
    of: part("collected pairs") | None = Field(None, description="Pairs collected in files, instead of made ones.")  # type: ignore[valid-type]
    path: str | None = Field(None, description="A pair file that is there already; then none is made.")


class SetSection(Section):
    """The learned set's ball."""

    quantile: Share = Field(1.0, description="Share of the validation encodings that the radius holds.")
    radius: Radius | None = Field(None, description="Fixed radius instead.")
    bank: Count = Field(4096, description="Training encodings kept for draws.")


class QualitySection(Section):
    """How samples of the set are compared with real changes."""

    features: part("features") = Field(  # type: ignore[valid-type]
        default_factory=lambda: {"build": "perturbsets.criteria.RandomFeatures"},
        validate_default=True,
        description="From images to features.",
    )
    neighbours: Count = Field(3, description="Neighbours that tell where a set of images lies.")


class CheckSection(Section):
    """The criteria, measured on test pairs."""

    necessary: section(NecessarySubset) = Field(default_factory=section(NecessarySubset))  # type: ignore[valid-type]
    sufficient: section(SufficientLikelihood) = Field(default_factory=section(SufficientLikelihood))  # type: ignore[valid-type]
    quality: QualitySection = Field(default_factory=QualitySection)  # type: ignore[arg-type]
    overapproximation: section(OverApproximation) = Field(default_factory=section(OverApproximation))  # type: ignore[valid-type]
    theorems: section(Theorems) = Field(default_factory=section(Theorems))  # type: ignore[valid-type]
    quantile: Share | None = Field(0.95, description="Share of the validation encodings in a second radius to compare.")


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

    images: Count | None = Field(None, description="Number of test images, drawn once by the seed; all if not given.")
    shown: Count = Field(8, description="Images in the report's pictures of attacks.")
    reference: Name | None = Field(
        None,
        description="Classifier that tells whether members of the learned set keep their labels; else the last.",
    )
    control: Name | None = Field(
        None, description="Classifier that all others are compared with, image by image; none if not given."
    )
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
    DrawnChanges={"of": (Literal["change", "unseen"], Field("change", description="Which of the recipe's changes."))},
    ComposedSet={
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


def _untargeted(objective: Any) -> Any:
    """The objective itself, if it is not targeted: where none is given, the true states would be the target."""
    if getattr(objective, "targeted", False):
        raise ValueError("objective must not be targeted here, got targeted=True: no target is given but the truth")
    return objective


def label_objective(*, targeted: bool) -> tuple[Any, Any]:
    """The field of a multi-label objective, which may be targeted or not."""
    kind = part("multi-label objective")
    default = Field(
        default_factory=lambda: {"build": "perturbsets.multi_label.BinaryCrossEntropy"}, validate_default=True
    )
    return kind if targeted else Annotated[kind, AfterValidator(_untargeted)], default


LABEL_ADVERSARY: dict[str, Any] = _ADVERSARY | {"objective": label_objective(targeted=False)}
_DUAL = LABEL_ADVERSARY | {
    "auxiliary_network": (
        Literal["frozen", "updated", "shared"],
        Field(
            "frozen",
            description="The recipe's auxiliary classifier, one trained along, or one with shared layers.",
        ),
    )
}
_SET = {"set": _ADVERSARY["set"]}
_Plain = part(
    "method",
    AugmentedTraining=_SET,
    NoiseAugmentedTraining=_SET,
    AdversarialTraining=_ADVERSARY,
    FastAdversarialTraining=_SET,
    LargerLossTraining=_ADVERSARY,
    TRADES=_SET | {"ascent": _ADVERSARY["ascent"]},
    MART=_ADVERSARY,
    FeatureAdversarialTraining=_SET
    | {
        "ascent": _ADVERSARY["ascent"],
        "layers": (str | list[str], Field(description="Names or globs of the layers to attack.")),
        "activation": (Activation, Field("relu", description="What is taken of the layers' outputs.")),
    },
)
_Aligned = part("method that aligns gradients", GradientAlignment=_SET | {"method": (_tried(_Plain), ...)})
_Moved = part("method that moves weights", AdversarialWeightPerturbation={"method": (_tried(_Plain, _Aligned), ...)})
_Replaying = part("method that replays", FreeAdversarialTraining=_SET)
_OWN = (
    AdversarySection | None,
    Field(None, description="The search on the classifier itself; by the same set and ascent if not given."),
)
_Dual = part("dual method", DualS1=_DUAL, DualS2=_DUAL | {"own": _OWN})
MethodPart = _tried(_Plain, _Aligned, _Moved, _Replaying, _Dual)
SchedulePart = part(
    "schedule",
    CosineAnnealingLR={"T_max": (Count | None, Field(None, description="Steps to the lowest rate; all if not given."))},
    MultiStepLR={"milestones": (list[Count], Field(description="Steps at which the rate falls."))},
)
