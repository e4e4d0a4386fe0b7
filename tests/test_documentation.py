"""The code of the README, the tutorials and the builder of the documentation work, and stay within their size."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from augment import Digits
from perturbsets import SmallConvNet
from tests.readme_code import readme_code

TUTORIALS: dict[str, dict[str, int]] = {  # constants that make a script short
    "attack": {"STEPS": 2, "IMAGES": 6, "QUERIES": 5, "SEARCH": 2},
    "learn": {"STEPS": 2, "IMAGES": 400, "SEARCH": 1},
    "train": {"STEPS": 2, "IMAGES": 12, "EPOCHS": 1},
    "certify": {"STEPS": 2, "IMAGES": 6, "SEARCH": 1, "DRAWS": 50},
}
MOST_WORDS, MOST_BYTES = 700, 300_000


@pytest.fixture(scope="module")
def builder(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_builder", root / "perturbsets" / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(source: str, name: str, **given: Any) -> dict[str, Any]:
    names = {"__name__": "__main__", **given}
    exec(compile(source, name, "exec"), names)
    return names


def test_code_of_the_readme_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = readme_code(root)
    images, labels = Digits("test", size=28, digit=16).batch(range(8))

    names = run(code, "README.md", model=SmallConvNet().eval(), images=images, labels=labels)

    assert names["result"].success.shape == (8,)
    assert names["learned"].radius > 0


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorials_run(root: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = (root / "recipes" / "tutorials" / f"{name}.py").read_text()
    for constant, value in TUTORIALS[name].items():
        source, found = re.subn(rf"^{constant} = .*$", f"{constant} = {value}", source, flags=re.MULTILINE)
        assert found == 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning, where it is installed, warns of few workers
        run(source, f"{name}.py")


def test_every_tutorial_is_run(root: Path) -> None:
    assert {path.stem for path in (root / "recipes" / "tutorials").glob("*.py")} == set(TUTORIALS)


def test_readme_is_short(root: Path) -> None:
    assert len((root / "README.md").read_text().split()) <= MOST_WORDS


def test_every_recipe_is_listed_and_pictures_are_small(root: Path) -> None:
    text = (root / "recipes" / "README.md").read_text()
    recipes = {path.relative_to(root / "recipes").as_posix() for path in (root / "recipes").glob("*/*.yaml")}
    pictures = list((root / "recipes" / "thumbnails").glob("*.png"))

    assert set(re.findall(r"\]\(([\w-]+/[\w-]+\.yaml)\)", text)) == recipes
    assert set(re.findall(r"\]\(thumbnails/([\w-]+\.png)\)", text)) == {path.name for path in pictures}
    assert sum(path.stat().st_size for path in pictures) <= MOST_BYTES


def test_links_between_pages_lead_somewhere(root: Path, builder: ModuleType) -> None:
    broken = [
        f"{file}: {address}"
        for file in builder.PAGES
        for address in re.findall(r"\]\(([^)#\s]+)", (root / file).read_text())
        if "://" not in address and not ((root / file).parent / address).exists()
    ]

    assert broken == []


def test_formulas_become_mathml_and_code_stays(builder: ModuleType) -> None:
    formulas: list[str] = []
    text = "Norm :math:`\\|u\\|_2`, price $5 and `$x$`; $y^2$.\n\n.. math:: \\mathbb E\\, x\n    + \\mathcal N\n\nEnd."

    kept = builder.keep_formulas(text, formulas)

    assert kept == "Norm xformula0x, price $5 and `$x$`; xformula1x.\n\nxformula2x\n\nEnd."
    assert [formula.count("<math") for formula in formulas] == [1, 1, 1]
    assert "𝔼" in formulas[2]
    assert "𝒩" in formulas[2]


def test_a_script_becomes_a_page(builder: ModuleType) -> None:
    script = '"""Title.\n\nText.\n"""\n\nx = 1\n\n# ## Heading\n#\n# Prose.\nif x:\n    # code\n    x = 2\n'

    page = builder.tutorial(script)

    assert page.startswith("# Title\n\nText.\n\n```python\nx = 1\n```\n\n## Heading")
    assert page.endswith("Prose.\n\n```python\nif x:\n    # code\n    x = 2\n```")


def test_broken_links_are_found(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a id="here" href="#here"></a><a href="b.html#gone"></a><a href="c.html"></a>')
    (tmp_path / "b.html").write_text('<a href="a.html#here"></a>')

    assert sorted(builder.broken_links(tmp_path)) == [
        "a.html links to b.html#gone, which is not there",
        "a.html links to c.html, which is not there",
    ]


def test_pictures_of_the_site_are_copied(builder: ModuleType, root: Path) -> None:
    copied: set[str] = set()

    page = builder.markdown_page("README.md", "index", copied)

    assert ".github/walk.png" in copied
    assert "(choose.html)" in page.docstring
