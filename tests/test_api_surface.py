"""Public names are recorded: one that vanishes or appears unnoticed fails here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from perturbsets.recipe import Recipe

PACKAGES = ("augment", "cvae", "perturbsets")


def test_public_names_are_those_recorded(root: Path) -> None:
    recorded = json.loads((root / "tests" / "api_surface.json").read_text())

    assert {name: sorted(importlib.import_module(name).__all__) for name in PACKAGES} == recorded


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_documented(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__doc__, f"{package}.{name} has no docstring"


def test_schema_for_editors_is_up_to_date(root: Path) -> None:
    recorded = json.loads((root / "recipes" / "schema.json").read_text())

    assert recorded == json.loads(json.dumps(Recipe.model_json_schema())), "perturbsets schema > recipes/schema.json"
