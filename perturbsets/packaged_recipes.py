"""Recipes that come with the package: ``recipes/`` in a checkout, data files where a wheel was installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).parents[1] / "recipes"
INSTALLED = "share/perturbsets/recipes/"  # as setup.cfg names it


def packaged_recipes() -> dict[str, Path]:
    """The files of the packaged recipes by name, such as ``digits/rts``."""
    if (CHECKOUT / "schema.json").is_file():
        return {_name(file.relative_to(CHECKOUT)): file for file in sorted(CHECKOUT.rglob("*.yaml"))}
    try:
        files = metadata.files("perturbsets") or []
    except metadata.PackageNotFoundError:
        return {}
    found = ((file.as_posix().partition(INSTALLED)[2], Path(str(file.locate()))) for file in files)
    return {_name(Path(inside)): file.resolve() for inside, file in sorted(found) if inside.endswith(".yaml")}


def find_recipe(text: Path | str) -> Path | None:
    """The file of a packaged recipe, by name, ``digits/rts``, or path, ``recipes/digits/rts.yaml``; or ``None``."""
    path = Path(text)
    return packaged_recipes().get(_name(path.relative_to("recipes") if path.parts[:1] == ("recipes",) else path))


def description(file: Path) -> str:
    """The first line of a recipe's comment, which says what it does."""
    comments = (line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#"))
    return next((line for line in comments if not line.startswith("yaml-language-server")), "")


def _name(path: Path) -> str:
    return path.with_suffix("").as_posix() if path.suffix == ".yaml" else path.as_posix()
