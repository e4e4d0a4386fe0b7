"""A recipe: its sections, and reading it with all faults at once."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from cvae import FitSettings, LoopSettings
from cvae.training import tabulate
from perturbsets.packaged_recipes import find_recipe
from perturbsets.recipe import sections
from perturbsets.recipe.analysis_sections import AuxiliarySection, CertifySection, LabelsSection, RepresentationsSection
from perturbsets.recipe.assembly import schedule
from perturbsets.recipe.cross_validation import misfits
from perturbsets.recipe.parts import part, section
from perturbsets.recipe.sections import MethodPart, Name, SchedulePart, Section, SetPart
from perturbsets.stages import planned


class Recipe(Section):
    """A recipe: pairs, a learned set and its checks, classifiers and their evaluation; any of these may be left out."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="Split per stage by name.")
    output: str = Field(description="The run folder.")
    source: part("source") | None = Field(None, description="Clean images with labels.")  # type: ignore[valid-type]
    change: part("change") | None = Field(None, description="The change of its images.")  # type: ignore[valid-type]
    unseen: part("change") | None = Field(  # type: ignore[valid-type]
        None, description="Held-out conditions: the change of half of the test images, into pairs of a split `unseen`."
    )
    pairs: sections.PairsSection = Field(default_factory=sections.PairsSection)  # type: ignore[arg-type]
    model: part("model") | None = Field(None, description="The CVAE; its image shape comes from the pairs.")  # type: ignore[valid-type]
    fit: section(FitSettings) = Field(default_factory=section(FitSettings))  # type: ignore[valid-type]
    set: sections.SetSection = Field(default_factory=sections.SetSection)  # type: ignore[arg-type]
    check: sections.CheckSection = Field(default_factory=sections.CheckSection)  # type: ignore[arg-type]
    learned: str | None = Field(None, description="An existing learned set: its folder or that of its run.")
    sets: dict[Name, SetPart] = Field(default_factory=dict, description="Sets by name.")  # type: ignore[valid-type]
    auxiliary: AuxiliarySection | None = Field(
        None, description="An auxiliary multi-label classifier; none by default."
    )
    classifier: part("classifier") | None = Field(None, description="The network to train.")  # type: ignore[valid-type]
    train: section(LoopSettings) = Field(default_factory=section(LoopSettings))  # type: ignore[valid-type]
    schedule: SchedulePart | None = Field(  # type: ignore[valid-type]
        None, description="Learning rates of the classifiers, instead of the warm-up and decay of `train`."
    )
    validation: sections.ValidationSection | None = Field(  # type: ignore[valid-type]
        None, description="Selects each classifier's weights by robust accuracy; by default the last are kept."
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        [0], description="Each classifier is trained once per seed."
    )
    classifiers: Annotated[dict[Name, MethodPart], Field(min_length=1)] | None = Field(  # type: ignore[valid-type]
        None, description="How each classifier is trained."
    )
    trained: str | None = Field(None, description="A run whose classifiers are evaluated, instead of training any.")
    adversaries: dict[Name, sections.AdversarySection] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="Adversaries by name."
    )
    evaluate: sections.EvaluateSection = Field(default_factory=sections.EvaluateSection)  # type: ignore[arg-type]
    certify: CertifySection | None = Field(None, description="Certificates; none by default.")
    representations: RepresentationsSection | None = Field(
        None, description="Feature adversaries and measures of a network's representations; none by default."
    )
    labels: LabelsSection | None = Field(
        None, description="Attacks on the auxiliary classifier's labels, and detection by rules; none by default."
    )

    @property
    def stages(self) -> list[str]:
        """The stages it calls for, in order."""
        return planned(self.model_dump(exclude_unset=True))

    def resolved(self) -> dict[str, Any]:
        """Every value in JSON types, without the sections that no stage uses."""
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
        if train is not None and (made := schedule(given, train.steps)) is not None:
            tabulate(made, train.steps, train.learning_rate)
        return given

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Recipe:
        faults = list(misfits(self.model_dump(exclude_unset=True)))
        if faults:
            raise ValueError("; ".join(faults))
        return self


# Reading a recipe file, with overrides from the command line.


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads and checks a recipe; all faults are listed at once, before any work.

    Args:
        path: A YAML file; a run folder, which keeps its own recipe; or the name of a packaged recipe, ``digits/rts``.
        overrides: Texts ``key.key=value`` whose values are YAML, for example ``fit.steps=100``.

    Returns:
        The recipe.

    Raises:
        FileNotFoundError: If there is no such file, folder or packaged recipe.
        ValueError: If it is no YAML mapping or has faults; all of them are named.
    """
    path = Path(path)
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        packaged = find_recipe(path)
        if packaged is None:
            raise FileNotFoundError(
                f"recipe must be a YAML file or a run folder with a recipe.yaml, or the name of a packaged recipe, got "
                f"{path}: `perturbsets recipes` lists these"
            )
        path = file = packaged
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a mapping of sections, got {type(content).__name__}")
    if path.is_dir():
        content["output"] = str(path)  # wherever it was moved to
    for override in overrides:
        _override(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        faults = _faults(content)
        raise ValueError(f"{file} has {len(faults)} fault{'s' * (len(faults) > 1)}:\n" + "\n".join(faults)) from error


def _faults(content: dict[str, Any]) -> list[str]:
    """All faults of a recipe: faulty values are removed until no other faults, which they hid, appear."""
    faults = {("recipe", reason): None for reason in misfits(content)}
    rest = copy.deepcopy(content)
    while True:
        try:
            Recipe.model_validate(rest)
            break
        except ValidationError as error:
            places = [place for place, _ in faults]
            fresh = [fault for fault in error.errors() if fault["loc"] and not _known(fault, places)]
            faults |= {(_place(fault), _reason(fault)): None for fault in fresh}
            if not fresh:
                break
            for fault in fresh:
                _remove(rest, _place(fault).split("."))
    return [f"  {place}: {reason}{_near(content, place, reason)}" for place, reason in faults]


def _near(content: dict[str, Any], place: str, reason: str) -> str:
    """A name that was meant by an unknown key: one that resembles it and is known in its place."""
    *parents, last = place.split(".")
    if not reason.startswith("unknown key"):
        return ""
    schema = Recipe.model_json_schema()
    names = {name for model in (schema, *schema["$defs"].values()) for name in model.get("properties", ())}
    for name in difflib.get_close_matches(last, names):
        trial = copy.deepcopy(content)
        section = reduce(lambda inside, key: inside[key], parents, trial)
        section.setdefault(name, section.pop(last))
        try:
            Recipe.model_validate(trial)
        except ValidationError as error:
            unknown = {_place(fault) for fault in error.errors() if fault["type"] == "extra_forbidden"}
            if ".".join([*parents, name]) in unknown:
                continue
        return f": did you mean {name}?"
    return ""


def _known(fault: Any, places: list[str]) -> bool:
    """Whether a fault is listed already, or exists only because another one was removed."""
    place = _place(fault)
    emptied = fault["type"] in ("missing", "too_short") and any(known.startswith(f"{place}.") for known in places)
    return place in places or emptied


def _remove(content: Any, keys: list[str]) -> None:
    *parents, last = keys
    for key in parents:
        content = content.get(key) if isinstance(content, dict) else None
    if isinstance(content, dict):
        content.pop(last, None)


def _override(content: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"an override must look like key.key=value, got {text!r}, for example fit.steps=100")
    *parents, last = key.split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ValueError(f"override {text!r}: {parent} holds no keys")
    try:
        section[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"override {text!r}: {value!r} is no YAML value") from error


def _place(fault: Any) -> str:
    """The keys that lead to a fault, without the names of part types."""
    types = ("perturbsets.", "cvae.", "augment.", "torch.")
    return ".".join(key for key in map(str, fault["loc"]) if not key.startswith(types)) or "recipe"


def _reason(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return f"unknown key, got {fault['input']!r}"
    message: str = fault["msg"].removeprefix("Value error, ")
    return message if fault["type"] in ("missing", "value_error") else f"{message}, got {fault['input']!r}"
