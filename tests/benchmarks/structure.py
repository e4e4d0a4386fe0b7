"""How large the library is, and how far a reader has to walk: lines, files, names, and what one call passes through.

    python tests/benchmarks/structure.py [CHECKOUT]

A file counts as passed through when one of its functions is entered; imports do not count. For a run of a recipe, the
count ends where the first pairs are written, as everything before that only decides what to do.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGES = ("augment", "cvae", "perturbsets")
ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()


def sizes() -> dict[str, Any]:
    """Lines of files and functions, docstrings and blank lines included."""
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    functions = {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for name in lines
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    return {
        "source lines": sum(lines.values()),
        "source files": len(lines),
        "files of at most 60 lines": sum(count <= 60 for count in lines.values()),
        "file lines, median": statistics.median(lines.values()),
        "file lines, most": max((count, name) for name, count in lines.items()),
        "function lines, median": statistics.median(functions.values()),
        "function lines, most": max((count, name) for name, count in functions.items()),
        "README words": len((ROOT / "README.md").read_text().split()),
        "lines in runs/": sum(count for name, count in lines.items() if name.startswith("perturbsets/runs/")),
    }


class _ReachedError(Exception):
    """The call that ends the count."""


def passed(call: Callable[[], object], until: str | None = None) -> tuple[list[str], list[str]]:
    """The source files that a call passes through, and the classes and functions of their top level that it enters."""
    files, concepts = list[str](), list[str]()

    def watch(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event != "call" or not file.is_relative_to(ROOT) or file.relative_to(ROOT).parts[0] not in PACKAGES:
            return
        name = frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name
        if name == "<module>" or name.startswith("<"):
            return
        if name == until:
            raise _ReachedError
        where = str(file.relative_to(ROOT))
        concept = f"{where}:{name.split('.')[0]}"
        files.append(where) if where not in files else None
        concepts.append(concept) if concept not in concepts and not name.startswith("_") else None

    sys.setprofile(watch)
    try:
        call()
    except _ReachedError:
        pass
    finally:
        sys.setprofile(None)
    return files, concepts


def main() -> None:
    """Prints everything as JSON."""
    sys.path.insert(0, str(ROOT))
    import torch
    from torch import nn

    found = sizes()
    perturbsets = importlib.import_module("perturbsets")
    found["names at the top of perturbsets"] = len(perturbsets.__all__)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, labels = torch.rand(4, 1, 3, 4), torch.tensor([0, 1, 2, 0])
    attack = perturbsets.Adversary(
        perturbsets.PixelBall("linf", 8 / 255), ascent=perturbsets.ProjectedGradient(steps=10)
    )
    files, concepts = passed(lambda: attack(model, images, labels))
    found["files of one PGD call"], found["concepts of one PGD call"] = files, concepts

    recipe = re.sub(r"\n#[^\n]*", "", (ROOT / "recipes/digits/rts.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(recipe)
        importlib.import_module("perturbsets.runs.pipeline")  # so that no import happens while calls are watched
        cli = importlib.import_module("perturbsets.cli")
        app = cli.app if hasattr(cli, "app") else cli.main
        arguments = ["run", str(file), f"output={folder}/run"]
        with contextlib.redirect_stdout(sys.stderr):
            files, concepts = passed(lambda: app(arguments, standalone_mode=False), until="write_pairs")
    found["files of one run before the first pairs"], found["concepts of one run before the first pairs"] = (
        files,
        concepts,
    )
    print(
        json.dumps({key: [len(value), *value] if "of one" in key else value for key, value in found.items()}, indent=1)
    )


if __name__ == "__main__":
    main()
