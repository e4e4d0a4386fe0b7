"""Reading a recipe file, with overrides from the command line."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from perturbsets.recipe.misfits import misfits
from perturbsets.recipe.schema import Recipe


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads and checks a recipe; every fault is listed at once, before any work.

    Args:
        path: A YAML file, or a run folder, which keeps its own recipe.
        overrides: Texts ``key.key=value`` whose values are YAML, for example ``fit.steps=100``.

    Returns:
        The recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML mapping or has faults; all of them are named.
    """
    path = Path(path)
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"recipe must be a YAML file or a run folder with a recipe.yaml, got {path}, which is neither; "
            "recipes that come with the toolkit are in recipes/"
        )
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
    """All faults of a recipe: those found are taken out until no others, which they hid, come to light."""
    found = {("recipe", reason): None for reason in misfits(content)}
    rest = copy.deepcopy(content)
    while True:
        try:
            Recipe.model_validate(rest)
            break
        except ValidationError as error:
            places = [place for place, _ in found]
            fresh = [fault for fault in error.errors() if fault["loc"] and not _known(fault, places)]
            found |= {(_place(fault), _reason(fault)): None for fault in fresh}
            if not fresh:
                break
            for fault in fresh:
                _remove(rest, _place(fault).split("."))
    return [f"  {place}: {reason}" for place, reason in found]


def _known(fault: Any, places: list[str]) -> bool:
    """Whether a fault is told already, or is there only because another one was taken out."""
    place = _place(fault)
    emptied = fault["type"] in ("missing", "too_short") and any(told.startswith(f"{place}.") for told in places)
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
    """The keys that lead to a fault, without the names of the types tried."""
    keys = [
        str(key) for key in fault["loc"] if not str(key).startswith(("perturbsets.", "cvae.", "augment.", "torch."))
    ]
    return ".".join(keys) or "recipe"


def _reason(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return f"unknown key, got {fault['input']!r}"
    message: str = fault["msg"].removeprefix("Value error, ")
    if fault["type"] in ("missing", "value_error"):
        return message
    return f"{message}, got {fault['input']!r}"
