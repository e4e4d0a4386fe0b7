"""The run folder: the recipe it belongs to, the stages that are finished, and their results."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from cvae import derive_seed
from cvae.files import atomic_file
from perturbsets.provenance import provenance
from perturbsets.recipe import Recipe

_REMEDY = "bring it back, remove the folder, or choose another one by output=..."


class RunFolder:
    """A folder with one recipe's results, its ``output``.

    Raises:
        ValueError: If the folder belongs to another recipe, or holds files but no recipe.
        OSError: If it cannot be written.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.path = recipe, Path(recipe.output)
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
        """The content of ``run.json``: versions, hardware, finished stages and their commands."""
        file = self.path / "run.json"
        return _parsed(file, json.loads, json.JSONDecodeError) if file.is_file() else {"stages": {}}

    def done(self, stage: str) -> bool:
        """Whether a stage was finished."""
        return stage in self.about["stages"]

    def finish(self, stage: str, seconds: float, later: Sequence[str], *, processes: int) -> None:
        """Records a stage as finished, and the later ones, which used its former result, as unfinished."""
        stages = {name: entry for name, entry in self.about["stages"].items() if name not in later}
        command = shlex.join(["perturbsets", *sys.argv[1:]])
        stages[stage] = {"seconds": round(seconds, 2), "processes": processes, "command": command}
        self.write_json("run.json", {"seed": self.recipe.seed, **provenance(), "stages": stages})

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file, whole or not at all."""
        with atomic_file(self.path / name) as file:
            file.write_text(json.dumps(content, indent=2) + "\n")

    def write_tensors(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Writes a safetensors file, whole or not at all."""
        with atomic_file(self.path / name) as file:
            safetensors.torch.save_file({key: one.cpu().contiguous() for key, one in tensors.items()}, file)

    def seed(self, *names: str | int) -> int:
        """The recipe's seed, split by name."""
        return derive_seed(self.recipe.seed, *names)

    def generator(self, *names: str | int) -> torch.Generator:
        """A generator of that seed."""
        return torch.Generator().manual_seed(self.seed(*names))


def need(folder: Path, name: str, command: str) -> Path:
    """The path of a stage's result in a run folder, perhaps of another run.

    Raises:
        FileNotFoundError: If it is not there; the message says which command makes it.
    """
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there yet: run `perturbsets {command} {folder}` first, or `perturbsets run` for all stages"
        )
    return path


def _parsed(file: Path, parse: Callable[[str], Any], fault: type[Exception]) -> dict[str, Any]:
    """The content of a file of the run folder; a damaged one is refused."""
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
