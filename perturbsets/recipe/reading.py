"""Reading a recipe file, with overrides from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

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
    for override in overrides:
        _override(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        faults = [f"  {_place(fault)}: {_reason(fault)}" for fault in error.errors()]
        raise ValueError(f"{file} has {len(faults)} fault{'s' * (len(faults) > 1)}:\n" + "\n".join(faults)) from error


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
    keys = [str(key) for key in fault["loc"] if not str(key).startswith(("perturbsets.", "cvae.", "augment."))]
    return ".".join(keys) or "recipe"


def _reason(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return f"unknown key, got {fault['input']!r}"
    message: str = fault["msg"].removeprefix("Value error, ")
    if fault["type"] in ("missing", "value_error"):
        return message
    return f"{message}, got {fault['input']!r}"
