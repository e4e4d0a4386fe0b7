"""The sections on multi-label classifiers: the helper that is trained, and the attacks on its labels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from cvae import LoopSettings
from perturbsets.recipe.parts import part
from perturbsets.recipe.sections import LABEL_ADVERSARY, Count, Different, Name, Section, Share, label_objective
from perturbsets.recipe.settings import section

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
    """Attacks on the labels of the helper, and what rules detect."""

    images: Count | None = Field(None, description="Number of test images, drawn by the seed; all if not given.")
    top: Count = Field(3, description="Number k of first labels in success@k.")
    attacks: dict[Name, LabelAttack] = Field(default_factory=dict, description="Attacks by name.")  # type: ignore[valid-type]
    least: LeastSection | None = Field(None, description="Least changes; none if not given.")
    universal: dict[Name, UniversalSection] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="Universal changes by name."
    )
    detector: DetectorSection | None = Field(None, description="Detection by rules; none if not given.")
    shown: Count = Field(8, description="Images in the report's pictures.")
