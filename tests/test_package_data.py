"""Files that are no Python come along when the packages are installed."""

from __future__ import annotations

import configparser
import glob
from pathlib import Path, PurePosixPath

import pytest

from perturbsets import packaged_recipes
from perturbsets.packaged_recipes import INSTALLED

LEFT_OUT = {".py", ".pyc", ".md"}


@pytest.mark.parametrize("package", ["augment", "cvae", "perturbsets"])
def test_every_file_of_a_package_is_named_as_its_data(package: str, root: Path) -> None:
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    patterns = [each.strip() for each in settings["options.package_data"]["*"].split(",")]
    folders = [path.parent for path in (root / package).rglob("__init__.py")]
    named = {
        folder / found
        for folder in folders
        for pattern in patterns
        for found in glob.glob(pattern, root_dir=folder, recursive=True)
    }
    there = {path for path in (root / package).rglob("*") if path.is_file() and path.suffix not in LEFT_OUT}

    assert there
    assert there - named == set()


def test_every_recipe_is_installed_where_it_is_looked_for(root: Path) -> None:
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    installed = {
        f"{folder}/{Path(file).name}"
        for folder, pattern in settings["options.data_files"].items()
        for file in glob.glob(pattern, root_dir=root)
    }
    recipes = {file.relative_to(root / "recipes").as_posix() for file in (root / "recipes").rglob("*.yaml")}

    assert recipes
    assert {INSTALLED + name for name in (*recipes, "schema.json")} == installed


class Installed(PurePosixPath):
    """A file of an installed distribution, as importlib.metadata lists it."""

    def locate(self) -> Path:
        return Path("/prefix/lib/site-packages") / self


def test_recipes_of_a_wheel_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = [Installed("perturbsets/cli.py"), Installed(f"../../{INSTALLED}digits/rts.yaml")]
    monkeypatch.setattr(packaged_recipes, "CHECKOUT", tmp_path)
    monkeypatch.setattr(packaged_recipes.metadata, "files", lambda name: files)

    assert packaged_recipes.packaged_recipes() == {"digits/rts": Path(f"/prefix/{INSTALLED}digits/rts.yaml")}
    assert packaged_recipes.find_recipe("recipes/digits/rts.yaml") == Path(f"/prefix/{INSTALLED}digits/rts.yaml")
    assert packaged_recipes.find_recipe("digits/none") is None
