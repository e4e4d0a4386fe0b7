"""The sections on certificates, on the auxiliary multi-label classifier and its labels, and on representations."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, model_validator

from cvae import LoopSettings
from perturbsets.certificates import Coverage, CoveringRadius
from perturbsets.recipe.parts import part, section
from perturbsets.recipe.sections import LABEL_ADVERSARY, Count, Name, Section, Share, label_objective
from perturbsets.representations.study_settings import Different, StudySettings

Chance = Annotated[float, Field(gt=0, lt=1)]


def _positive(sigma: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """The standard deviations themselves, if they are above 0 and finite."""
    if not all(0 < one < math.inf for one in (sigma if isinstance(sigma, tuple) else (sigma,))):
        raise ValueError(f"sigma must be above 0 and finite, got {sigma}")
    return sigma


class SmoothingSection(Section):
    """A classifier's votes under normal noise in the parameters of a set."""

    classifier: Name = Field(description="Name of the classifier; its first seed is certified.")
    set: str = Field(description="Name of a set of the section `sets`, with an L2 ball or composed of such sets.")
    sigma: Annotated[float | tuple[float, ...], AfterValidator(_positive)] = Field(
        description="Standard deviation of the noise, in the set's own unit; for a composed set one for each part."
    )
    images: Count | None = Field(None, description="Number of held-out images, drawn by the seed; all by default.")
    selection: Count = Field(100, description="Draws that select the class.")
    draws: Count = Field(1000, description="Draws that bound the probability of that class.")
    alpha: Chance = Field(0.001, description="Probability of error of each image's certificate.")
    contradictions: bool = Field(False, description="Whether to attack the certified votes within their radii.")


class CertifySection(Section):
    """Statements with a confidence, from held-out pairs and votes under noise."""

    coverage: section(Coverage) | None = Field(None, description="The share of future pairs near the set.")  # type: ignore[valid-type]
    radius: section(CoveringRadius) | None = Field(None, description="The radius that future pairs need.")  # type: ignore[valid-type]
    smoothing: dict[Name, SmoothingSection] = Field(
        default_factory=dict, description="Votes under noise by name; with `radius`, joint statements too."
    )


LabelAdversary = create_model(
    "LabelAdversary", __base__=Section, __doc__="Set, multi-label objective and ascent.", **LABEL_ADVERSARY
)
LabelNames = Annotated[list[str], Different]


class AuxiliarySection(Section):
    """The auxiliary multi-label classifier, trained once per seed, and the rules between its labels and the classes."""

    network: part("classifier") | None = Field(  # type: ignore[valid-type]
        None, description="Its network; by default that of the classifiers."
    )
    train: section(LoopSettings) | None = Field(  # type: ignore[valid-type]
        None, description="Its training; by default as for the classifiers."
    )
    balanced: bool = Field(True, description="Whether rare states have as much weight as common ones.")
    adversary: LabelAdversary | None = Field(  # type: ignore[valid-type]
        None, description="The adversary in its training; by default it is trained on clean images."
    )
    thresholds: Literal["f1", "none"] = Field(
        "f1", description="Score that each label's threshold maximises on validation images; or probability one half."
    )
    rules: str | None = Field(
        None, description="Rules between labels and classes: a built-in table, or the path of a YAML file."
    )


class TargetSection(Section):
    """Target labels: some to hide, some to show; the others are to stay as they are."""

    hide: LabelNames = Field([], description="Names of labels to turn off.")
    show: LabelNames = Field([], description="Names of labels to turn on.")

    def __bool__(self) -> bool:
        return bool(self.hide or self.show)


def _targets_match(section: Any) -> Any:
    """The section itself, if it has target labels exactly where its objective is targeted."""
    if bool(section) != bool(getattr(section.objective, "targeted", False)):
        got = "labels without a targeted objective" if section else "a targeted objective without labels"
        raise ValueError(f"hide or show must come with an objective that is targeted, and vice versa, got {got}")
    return section


def _has_targets(section: Any) -> Any:
    """The section itself, if it has target labels."""
    if not section:
        raise ValueError("hide or show must name at least one label, got none")
    return section


LabelAttack = create_model(
    "LabelAttack",
    __base__=TargetSection,
    __validators__={"targets": model_validator(mode="after")(_targets_match)},  # type: ignore[dict-item]
    __doc__="An attack on the labels; with a targeted objective, towards target labels.",
    **LABEL_ADVERSARY | {"objective": label_objective(targeted=True)},
)


class LeastSection(TargetSection):
    """The least changes that give the target labels, by DeepFool and linear programmes."""

    images: Count = Field(32, description="Number of test images; a linear programme is solved for each.")
    steps: Count = Field(20, description="Largest number of rounds of each search.")

    targets = model_validator(mode="after")(_has_targets)


UniversalSection = create_model(
    "UniversalSection",
    __base__=Section,
    __doc__="One change for all images, searched on training images and applied to test images.",
    set=LABEL_ADVERSARY["set"],
    objective=LABEL_ADVERSARY["objective"],
    images=(Count, Field(1024, description="Number of training images.")),
    epochs=(Count, Field(10, description="Passes over them.")),
)


class DetectorSection(Section):
    """Rejecting images whose predicted labels violate the rules of their predicted class."""

    classifiers: Annotated[list[Name], Field(min_length=1), Different] = Field(
        description="Names of the attacked classifiers; the first seed of each."
    )
    adversaries: Annotated[list[Name], Field(min_length=1), Different] = Field(
        description="Names of adversaries of the section `adversaries`; each attacks plainly and adaptively."
    )
    weights: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)] = Field(
        [0.1, 0.3, 1.0],
        description="Weights of the rules in the objective of the adaptive attack; the worst case over all counts.",
    )
    share: Share = Field(0.05, description="Share of natural validation images that may be rejected.")


class LabelsSection(Section):
    """Attacks on the labels of the auxiliary classifier, and detection by rules."""

    images: Count | None = Field(None, description="Number of test images, drawn by the seed; all by default.")
    top: Count = Field(3, description="Number k of top labels in success@k.")
    attacks: dict[Name, LabelAttack] = Field(default_factory=dict, description="Attacks by name.")  # type: ignore[valid-type]
    least: LeastSection | None = Field(None, description="Least changes; none by default.")
    universal: dict[Name, UniversalSection] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="Universal changes by name."
    )
    detector: DetectorSection | None = Field(None, description="Detection by rules; none by default.")
    shown: Count = Field(8, description="Images in the report's pictures.")


class RepresentationsSection(StudySettings):
    """Feature adversaries of a classifier, and measures of its representations."""

    classifier: Name | None = Field(
        None, description="Name of the trained classifier; its first seed is attacked, others are for transfer."
    )
    network: part("classifier") | None = Field(  # type: ignore[valid-type]
        None, description="A network that needs no training, such as a published one, instead of a trained classifier."
    )
    sets: Annotated[list[Name], Different] = Field(
        [], description="Sets of the section `sets` in which the same guides are used."
    )
    ascent: part("ascent") | None = Field(  # type: ignore[valid-type]
        None, description="The ascent in these sets; projected L-BFGS by default."
    )
