"""The sections on multi-label classifiers: the auxiliary classifier that is trained, and the attacks on its labels."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, model_validator

from cvae import LoopSettings
from perturbsets.certificates import Coverage, CoveringRadius
from perturbsets.recipe.assembly import section
from perturbsets.recipe.parts import part
from perturbsets.recipe.sections import LABEL_ADVERSARY, Count, Different, Name, Radius, Section, Share, label_objective

# The section on certificates.


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


LabelAdversary = create_model(
    "LabelAdversary", __base__=Section, __doc__="Set, multi-label objective and ascent.", **LABEL_ADVERSARY
)


LabelNames = Annotated[list[str], Different]


class HelperSection(Section):
    """The multi-label classifier that helps to train the others, once per seed, and the rules that link both."""

    network: part("classifier") | None = Field(  # type: ignore[valid-type]
        None, description="Its network; that of the classifiers if not given."
    )
    train: section(LoopSettings) | None = Field(  # type: ignore[valid-type]
        None, description="How long and fast it learns; as the classifiers if not given."
    )
    balanced: bool = Field(True, description="Whether rare states weigh as much as common ones.")
    adversary: LabelAdversary | None = Field(  # type: ignore[valid-type]
        None, description="What it is trained against; clean images if not given."
    )
    thresholds: Literal["f1", "none"] = Field(
        "f1", description="What each label's threshold is best by, on validation images; or probability one half."
    )
    rules: str | None = Field(
        None, description="Rules that link labels and classes: a built-in table, or the path of a YAML file."
    )


class Asked(Section):
    """Labels to hide and labels to show, the others left alone."""

    hide: LabelNames = Field([], description="Names of labels to turn off.")
    show: LabelNames = Field([], description="Names of labels to turn on.")

    def __bool__(self) -> bool:
        return bool(self.hide or self.show)


def _aimed(section: Any) -> Any:
    """The section itself, if it asks for labels where its objective is targeted, and only there."""
    if bool(section) != bool(getattr(section.objective, "targeted", False)):
        got = "labels without a target" if section else "a target without labels"
        raise ValueError(
            f"hide or show must come with an objective that is targeted, and such a one with them, got {got}"
        )
    return section


def _asks(section: Any) -> Any:
    """The section itself, if it asks for labels."""
    if not section:
        raise ValueError("hide or show must name at least one label, got none")
    return section


LabelAttack = create_model(
    "LabelAttack",
    __base__=Asked,
    __validators__={"aimed": model_validator(mode="after")(_aimed)},  # type: ignore[dict-item]
    __doc__="An attack on the labels: with a targeted objective towards the labels asked for.",
    **LABEL_ADVERSARY | {"objective": label_objective(targeted=True)},
)


class LeastSection(Asked):
    """The least changes that reach the labels asked for, by DeepFool and linear programmes."""

    images: Count = Field(32, description="Number of test images; linear programmes take them one by one.")
    steps: Count = Field(20, description="Most rounds of each search.")

    asks = model_validator(mode="after")(_asks)


UniversalSection = create_model(
    "UniversalSection",
    __base__=Section,
    __doc__="One change for all images, found on training images and tried on test images.",
    set=LABEL_ADVERSARY["set"],
    objective=LABEL_ADVERSARY["objective"],
    images=(Count, Field(1024, description="Number of training images.")),
    epochs=(Count, Field(10, description="Passes over them.")),
)


class DetectorSection(Section):
    """Rejecting images whose labels break the rules of the class that they are given."""

    classifiers: Annotated[list[Name], Field(min_length=1), Different] = Field(
        description="Names of the classifiers that are attacked; the first seed of each."
    )
    adversaries: Annotated[list[Name], Field(min_length=1), Different] = Field(
        description="Names of adversaries of the section `adversaries`, tried as they are and knowing the rules."
    )
    weights: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)] = Field(
        [0.1, 0.3, 1.0],
        description="What the adaptive attacker gives the rules beside its objective; the worst of all counts.",
    )
    share: Share = Field(0.05, description="Share of natural images that may be rejected.")


class LabelsSection(Section):
    """Attacks on the labels of the auxiliary classifier, and what rules detect."""

    images: Count | None = Field(None, description="Number of test images, drawn by the seed; all if not given.")
    top: Count = Field(3, description="Number k of first labels in success@k.")
    attacks: dict[Name, LabelAttack] = Field(default_factory=dict, description="Attacks by name.")  # type: ignore[valid-type]
    least: LeastSection | None = Field(None, description="Least changes; none if not given.")
    universal: dict[Name, UniversalSection] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="Universal changes by name."
    )
    detector: DetectorSection | None = Field(None, description="Detection by rules; none if not given.")
    shown: Count = Field(8, description="Images in the report's pictures.")


# The section on representations.


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
