"""The run folder: what belongs to which recipe, and which stages are done."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from cvae.files import atomic_file
from perturbsets.recipe import Recipe

PACKAGES = ("perturbsets", "torch", "torchvision", "numpy", "h5py", "accelerate", "safetensors")
_REMEDY = "bring it back, remove the folder, or choose another one by output=..."


class RunFolder:
    """A folder that holds one recipe's results.

    Args:
        recipe: The recipe; the folder is its ``output``.

    Raises:
        ValueError: If the folder belongs to another recipe, or holds files but no recipe.
        OSError: If it cannot be written.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.path = Path(recipe.output)
        resolved = recipe.resolved()
        held = self.path / "recipe.yaml"
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"output must be a folder, got {self.path}, which is a file: choose another output=...")
        if held.is_file():
            differences = _differences(_parsed(held, yaml.safe_load, yaml.YAMLError), resolved)
            if differences:
                raise ValueError(
                    f"output folder {self.path} belongs to another recipe: {'; '.join(differences[:5])}"
                    f"{'; ...' if len(differences) > 5 else ''}. Choose another one by output=..., or remove it"
                )
        else:
            strangers = sorted(item.name for item in self.path.iterdir()) if self.path.is_dir() else []
            if strangers:
                raise ValueError(
                    f"output folder {self.path} holds files of something else ({', '.join(strangers[:3])}, ...) and "
                    "no recipe.yaml. Choose another one by output=..."
                )
            with atomic_file(held) as file:
                file.write_text(yaml.safe_dump(resolved, sort_keys=False))
        if not os.access(self.path, os.W_OK):
            raise PermissionError(f"output folder {self.path} is not writable: choose another one by output=...")

    @property
    def about(self) -> dict[str, Any]:
        """What ``run.json`` says: versions, hardware, stages done and their commands."""
        file = self.path / "run.json"
        if not file.is_file():
            return {"stages": {}}
        about: dict[str, Any] = _parsed(file, json.loads, json.JSONDecodeError)
        return about

    def done(self, stage: str) -> bool:
        """Whether a stage was finished."""
        return stage in self.about["stages"]

    def finish(self, stage: str, seconds: float, later: tuple[str, ...], *, seed: int, processes: int) -> None:
        """Records a stage as finished, and the later ones, which built on its former result, as not."""
        stages = {name: entry for name, entry in self.about["stages"].items() if name not in later}
        command = shlex.join(["perturbsets", *sys.argv[1:]])
        stages[stage] = {"seconds": round(seconds, 2), "processes": processes, "command": command}
        self.write_json(
            "run.json",
            {
                "seed": seed,
                "versions": {"python": platform.python_version(), **_versions()},
                "commit": _commit(),
                "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                "stages": stages,
            },
        )

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file, whole or not at all."""
        with atomic_file(self.path / name) as file:
            file.write_text(json.dumps(content, indent=2) + "\n")

    def need(self, name: str, command: str) -> Path:
        """The path of a former stage's result.

        Raises:
            FileNotFoundError: If it is not there; the message says which command makes it.
        """
        return need(self.path, name, command)


def need(folder: Path, name: str, command: str) -> Path:
    """The path of a stage's result in a run folder, which may be another run's.

    Raises:
        FileNotFoundError: If it is not there; the message says which command makes it.
    """
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there yet: run `perturbsets {command} {folder}` first, or `perturbsets run` for all stages"
        )
    return path


def _parsed(file: Path, parse: Callable[[str], Any], fault: type[Exception]) -> Any:
    """What a file of the run folder says; refuses one that was damaged."""
    try:
        content = parse(file.read_text())
    except (fault, UnicodeDecodeError) as error:
        raise ValueError(f"{file} was damaged ({error}): {_REMEDY}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} was damaged (it holds no mapping): {_REMEDY}")
    return content


def _differences(held: Any, wanted: Any, place: str = "") -> list[str]:
    if isinstance(held, dict) and isinstance(wanted, dict):
        return [
            line
            for key in {**held, **wanted}
            if (place, key) != ("", "output")
            for line in _differences(held.get(key), wanted.get(key), f"{place}.{key}" if place else str(key))
        ]
    return [] if held == wanted else [f"{place} is {held!r} there and {wanted!r} here"]


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit() -> str | None:
    """The commit of the checkout the package runs from, if there is one."""
    here = Path(__file__)
    answers = []
    for question in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):  # a checkout of this file?
        try:
            asked = subprocess.run(
                ["git", *question], cwd=here.parent, capture_output=True, text=True, check=False, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        answers.append(asked.stdout.strip())
    return answers[1] if all(answers) else None
