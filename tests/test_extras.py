"""Optional parts name the package that is missing, and other people's files do not pass for our packages."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from augment import AlbumentationsChange
from perturbsets.criteria import InceptionFeatures
from perturbsets.neighbours import NEIGHBOURS, check_neighbours
from perturbsets.report import drawing, page

OPTIONAL = ["accelerate", "albumentations", "jinja2", "matplotlib", "pytorch_fid", "scipy", "torch", "transformers"]


def _change() -> None:
    change = AlbumentationsChange(SimpleNamespace(set_random_seed=None))
    change.apply(torch.zeros(1, 3, 8, 8), change.draw(1))


USES: dict[str, tuple[str, Callable[[], object]]] = {
    "albumentations": ("albumentations", _change),
    "pytorch_fid": ("fid", lambda: InceptionFeatures()(torch.zeros(1, 3, 8, 8))),
    "matplotlib": ("report", lambda: drawing.draw_chart("c", lambda axes: None, title="", alt="")),
    "jinja2": ("report", page._render),
}


@pytest.mark.parametrize("package", USES)
def test_a_missing_package_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra, use = USES[package]
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(
        ModuleNotFoundError, match=rf'needs the package {package}.*pip install "perturbsets\[{extra}\]"'
    ):
        use()


def test_extras_that_errors_name_are_in_the_settings_and_in_the_base(root: Path) -> None:
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    extras = {name: set(lines.split("\n")) - {""} for name, lines in settings["options.extras_require"].items()}
    base = set(settings["options"]["install_requires"].split("\n"))
    named = {
        node.args[0].value
        for package in (*NEIGHBOURS, "perturbsets")
        for file in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", None) == "extra"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }

    assert named <= set(extras)
    assert {extra for extra, _ in USES.values()} | {"docs"} == named
    for extra in named - {"docs"}:
        assert extras[extra] <= base


def test_importing_the_library_loads_nothing_heavy_and_changes_no_allocator() -> None:
    heavy = [*OPTIONAL, "perturbsets.memory"]
    code = f"import perturbsets, sys; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_with_the_name_of_our_package_is_named(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / (f"{name}.py" if kind == "file" else f"{name}/__init__.py")
    mine.parent.mkdir(exist_ok=True)
    mine.touch()
    place, other = (mine, f"my_{name}.py") if kind == "file" else (mine.parent, f"my_{name}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name)

    with pytest.raises(ImportError, match=rf"{place} is in the way.*Rename yours, for example to {other}$"):
        check_neighbours()


def test_our_own_packages_are_not_in_the_way() -> None:
    check_neighbours()
