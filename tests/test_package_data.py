"""Files that are no Python come along when the packages are installed."""

from __future__ import annotations

import configparser
import glob
from pathlib import Path

import pytest

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
