"""The run folder: the recipe it belongs to, the stages that are finished, and their results."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from cvae import derive_seed
from cvae.files import atomic_file
from perturbsets.provenance import provenance
from perturbsets.recipe import Recipe
from perturbsets.stages import STAGES, depending

_REMEDY = "bring it back, remove the folder, or choose another one by output=..."


class RunFolder:
    """A folder with one recipe's results.

    The recipe may change as long as no result that is there depends on what changed; it may gain sets, classifiers and
    adversaries.

    Args:
        recipe: The recipe; the folder is its ``output``.
        repeat: A stage that will be carried out anew, so that its results may come from another recipe.
        remove: Whether to remove its results, and those of the stages that depend on it.

    Raises:
        ValueError: If other results in the folder come from another recipe, or it holds files but no recipe.
        OSError: If it cannot be written.
    """

    def __init__(self, recipe: Recipe, repeat: str | None = None, *, remove: bool = False) -> None:
        self.recipe, self.path = recipe, Path(recipe.output)
        stamp, resolved, held = self.path / "recipe.yaml", recipe.resolved(), None
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"output must be a folder, got {self.path}, which is a file: choose another output=...")
        if stamp.is_file():
            held = _parsed(stamp, yaml.safe_load, yaml.YAMLError)
        elif strangers := sorted(item.name for item in self.path.iterdir()) if self.path.is_dir() else []:
            raise ValueError(
                f"output folder {self.path} holds files of something else ({', '.join(strangers[:3])}, ...) and "
                "no recipe.yaml. Choose another one by output=..."
            )
        if self.path.is_dir() and not os.access(self.path, os.W_OK):
            raise PermissionError(f"output folder {self.path} is not writable: choose another one by output=...")
        changed = {} if held is None else _differences(held, resolved)
        added = [key for key in changed if held is not None and _is_added(key, held)]
        again = [] if repeat is None else depending([repeat])
        stale = [name for name in depending(keys=changed.keys() - added) if name not in again and self._begun(name)]
        if stale not in ([], ["report"]):
            told = [sentence for key, sentence in changed.items() if key not in added]
            raise ValueError(
                f"results in {self.path} come from another recipe: {'; '.join(told[:5])}{'; ...' * (len(told) > 5)}. "
                f"Stages that depend on it: {', '.join(stale)}. Remove their results and repeat them by "
                f"`perturbsets run ... --restart {stale[0]}`, or choose another folder by output=..."
            )
        if unfinished := {*again, *stale, *depending(keys=added)}.intersection(self.about["stages"]):
            stages = {name: entry for name, entry in self.about["stages"].items() if name not in unfinished}
            self.write_json("run.json", {**self.about, "stages": stages})
        for path in (self.path / name for stage in again for name in STAGES[stage].writes if remove):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if changed or held is None:
            with atomic_file(stamp) as file:
                file.write_text(yaml.safe_dump(resolved, sort_keys=False))

    def _begun(self, stage: str) -> bool:
        """Whether results of a stage are there, perhaps unfinished ones."""
        return any((self.path / name).exists() for name in STAGES[stage].writes)

    @property
    def about(self) -> dict[str, Any]:
        """The content of ``run.json``: versions, hardware, finished stages and their commands."""
        file = self.path / "run.json"
        return _parsed(file, json.loads, json.JSONDecodeError) if file.is_file() else {"stages": {}}

    def done(self, stage: str) -> bool:
        """Whether a stage was finished."""
        return stage in self.about["stages"]

    def finish(self, stage: str, seconds: float, *, processes: int) -> None:
        """Records a stage as finished, and those that depend on it, which used its former result, as unfinished."""
        later = depending([stage])
        stages = {name: entry for name, entry in self.about["stages"].items() if name not in later}
        command = shlex.join(["perturbsets", *sys.argv[1:]])
        stages[stage] = {"seconds": round(seconds, 2), "processes": processes, "command": command}
        self.write_json("run.json", {"seed": self.recipe.seed, **provenance(), "stages": stages})

    def grade(self) -> str:
        """The verdict of the check stage on the set: ``"good"``, ``"usable"`` or ``"not good"``."""
        checks = _parsed(need(self.path, "checks/checks.json", "check"), json.loads, json.JSONDecodeError)
        if "verdict" not in checks:
            raise ValueError(f"{self.path} was checked without a verdict: run `perturbsets check {self.path}` again")
        return str(checks["verdict"]["grade"])

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


def _is_added(key: str, held: Mapping[str, Any]) -> bool:
    """Whether a key is a new set, classifier or adversary, which no former result knows."""
    section, _, name = key.partition(".")
    return (
        section in ("sets", "classifiers", "adversaries") and name not in (held.get(section) or {}) and "." not in name
    )


def _differences(held: Any, wanted: Any, place: str = "") -> dict[str, str]:
    """The keys whose values differ, with a sentence for each."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        return {
            key: sentence
            for name in {**held, **wanted}
            if (place, name) != ("", "output")
            for key, sentence in _differences(held.get(name), wanted.get(name), f"{place}.{name}".lstrip(".")).items()
        }
    return {} if held == wanted else {place: f"{place} is {held!r} there and {wanted!r} here"}
