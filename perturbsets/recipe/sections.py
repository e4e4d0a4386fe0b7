"""The sections of a recipe and their types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from perturbsets.adversaries.adversary import Adversary
from perturbsets.criteria import NecessarySubset, OverApproximation, SufficientLikelihood, Theorems
from perturbsets.layer_outputs import Activation
from perturbsets.objectives import Objective
from perturbsets.recipe.assembly import tried_method
from perturbsets.recipe.parts import any_of, part, section
from perturbsets.sets import PerturbationSet
from perturbsets.training import OneUpdate

Share = Annotated[float, Field(gt=0, le=1)]
Radius = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Section(BaseModel):
    """A section: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class PairsSection(Section):
    """How many pairs the change makes of the source, or where pairs are; and how they are stored."""

    train: Count = Field(20, description="Changed versions of each training image.")
    validation: Count = Field(4, description="Changed versions of each validation image.")
    test: Count = Field(4, description="Changed versions of each test image.")
    unseen: Count = Field(4, description="Changed versions of each test image kept for unseen conditions.")
    dtype: Literal["uint8", "float32"] = Field("uint8", description="How values are stored.")
    processes: Count = Field(1, description="Processes that change images.")
    strict: bool = Field(False, description="Whether an unreadable image is an error; otherwise it is skipped.")
    of: part("collected pairs") | None = Field(None, description="Pairs collected in files, instead of made ones.")  # type: ignore[valid-type]
    path: str | None = Field(None, description="An existing pair file; then none is made.")


class SetSection(Section):
    """The learned set's ball."""

    quantile: Share = Field(1.0, description="Share of the validation encodings inside of the radius.")
    radius: Radius | None = Field(None, description="A fixed radius instead.")
    bank: Count = Field(4096, description="Number of training encodings kept for draws.")


class QualitySection(Section):
    """How samples of the set are compared with real changes: Fréchet distances, precision and recall."""

    features: part("features") = Field(  # type: ignore[valid-type]
        default_factory=lambda: {"build": "perturbsets.criteria.RandomFeatures"},
        validate_default=True,
        description="From images to features.",
    )
    neighbours: Count = Field(3, description="Nearest neighbours that bound a set of images.")


class CheckSection(Section):
    """The criteria, measured on test pairs."""

    necessary: section(NecessarySubset) = Field(default_factory=section(NecessarySubset))  # type: ignore[valid-type]
    sufficient: section(SufficientLikelihood) = Field(default_factory=section(SufficientLikelihood))  # type: ignore[valid-type]
    quality: QualitySection = Field(default_factory=QualitySection)  # type: ignore[arg-type]
    overapproximation: section(OverApproximation) = Field(default_factory=section(OverApproximation))  # type: ignore[valid-type]
    theorems: section(Theorems) = Field(default_factory=section(Theorems))  # type: ignore[valid-type]
    quantile: Share | None = Field(
        0.95, description="Share of the validation encodings inside of a second radius, to compare."
    )


class AuditSection(Section):
    """The audit of each attack on each classifier."""

    images: Count = Field(64, description="Number of test images.")
    draws: Count = Field(50, description="Random draws per image that an attack has to beat.")


class RobustnessSection(Section):
    """The fixed ensemble of strong attacks, on every classifier."""

    sets: Annotated[list[Name], Field(min_length=1)] = Field(
        description="Names of the sets; an image is robust if it is in all of them."
    )
    images: Count | None = Field(None, description="Number of test images; all evaluated ones by default.")
    steps: Count = Field(100, description="Steps of each APGD.")
    queries: Count = Field(5000, description="Queries of Square for each image.")
    targets: Count = Field(9, description="Largest number of target classes.")


class EvaluateSection(Section):
    """How classifiers are evaluated."""

    images: Count | None = Field(None, description="Number of test images, drawn once by the seed; all by default.")
    shown: Count = Field(8, description="Images in the report's pictures of attacks.")
    reference: Name | None = Field(
        None, description="Classifier that labels members of the learned set, to compare; the last by default."
    )
    control: Name | None = Field(
        None, description="Classifier that all others are compared with, image by image; none by default."
    )
    audit: AuditSection = Field(default_factory=AuditSection)  # type: ignore[arg-type]
    robustness: RobustnessSection | None = Field(None, description="The fixed ensemble; not run by default.")


_Simple = part("objective")
ObjectivePart = any_of(
    _Simple,
    part(
        "objective of another",
        of={Objective: {"objective": (_Simple, ...)}},
        StrongestWrong={"objective": (_Simple | None, None)},
    ),
)
_SET: dict[str, Any] = {"set": (str, Field(description="Name of a set of the section `sets`."))}
_ASCENT: dict[str, Any] = {"ascent": (part("ascent"), ...)}


def _default(name: str) -> Any:
    """The default of a field that holds a part; made late, so that schemas show it as a recipe gives it."""
    return Field(default_factory=lambda: {"build": name}, validate_default=True)


_ADVERSARY = _SET | {"objective": (ObjectivePart, _default("perturbsets.CrossEntropy"))} | _ASCENT
AdversarySection = create_model(
    "AdversarySection", __base__=Section, __doc__="Set, objective and ascent.", **_ADVERSARY
)
_FORMER = "of the section `sets`, given before this one"
SetPart = part(
    "set",
    of={PerturbationSet: {"set": (Name, Field(description=f"Name of a set {_FORMER}."))}},
    LatentBall={"radius": (Radius | None, Field(None, description="Its radius; by default the measured one."))},
    DrawnChanges={"of": (Literal["change", "unseen"], Field("change", description="Which of the recipe's changes."))},
    ComposedSet={
        "sets": (
            Annotated[list[Name], Field(min_length=2)],
            Field(description=f"Names of sets {_FORMER}, in the order in which they act."),
        )
    },
)
ValidationSection = create_model(
    "ValidationSection",
    __base__=AdversarySection,
    __doc__="Robust accuracy on validation images, which selects the weights and stops a training where it falls.",
    images=(Count, Field(256, description="Number of validation images, drawn once.")),
    drop=(Annotated[float, Field(ge=0, le=1)], Field(0.2, description="Fall below the best that stops a training.")),
)


def _untargeted(objective: Any) -> Any:
    """The objective itself, if it is not targeted: without targets the true states would be taken for them."""
    if getattr(objective, "targeted", False):
        raise ValueError("objective must not be targeted here, got targeted=True: there are no target labels")
    return objective


def label_objective(*, targeted: bool) -> tuple[Any, Any]:
    """The field of a multi-label objective, which may be targeted or not."""
    kind = part("multi-label objective")
    default = _default("perturbsets.multi_label.BinaryCrossEntropy")
    return (kind if targeted else Annotated[kind, AfterValidator(_untargeted)]), default


# How a classifier is trained. A method's adversary is given by set, objective and ascent.


def _methods(*kinds: Any) -> Any:
    """The type of a method of several kinds, which its constructor does not refuse."""
    return Annotated[any_of(*kinds), AfterValidator(tried_method)]


LABEL_ADVERSARY = _ADVERSARY | {"objective": label_objective(targeted=False)}
_DUAL = LABEL_ADVERSARY | {
    "auxiliary_network": (
        Literal["frozen", "updated", "shared"],
        Field(
            "frozen",
            description="The recipe's auxiliary classifier, one trained at the same time, or one with shared layers.",
        ),
    )
}
_OWN = (
    AdversarySection | None,
    Field(None, description="The attack on the classifier itself; by default with the same set and ascent."),
)
_OF: dict[type, dict[str, Any]] = {Adversary: _ADVERSARY, PerturbationSet: _SET}
_Plain = part(
    "method",
    of=_OF,
    TRADES=_SET | _ASCENT,
    FeatureAdversarialTraining=_SET
    | _ASCENT
    | {
        "layers": (str | list[str], Field(description="Names or globs of the layers to attack.")),
        "activation": (Activation, Field("relu", description="Activation after the layers.")),
    },
)
_Around = part("method of another", of=_OF | {OneUpdate: {"method": (_methods(_Plain), ...)}})
MethodPart = _methods(
    _Plain,
    part("method of another", of=_OF | {OneUpdate: {"method": (_methods(_Plain, _Around), ...)}}),
    part("method that replays", of=_OF),
    part("dual method", of={Adversary: _DUAL}, DualS2=_DUAL | {"own": _OWN}),
)
SchedulePart = part(
    "schedule",
    CosineAnnealingLR={"T_max": (Count | None, Field(None, description="Steps to the lowest rate; all by default."))},
    MultiStepLR={"milestones": (list[Count], Field(description="Steps at which the rate falls."))},
)
