from __future__ import annotations

import inspect
import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

import perturbsets
from perturbsets import cli, memory
from perturbsets.recipe import Recipe, read_recipe
from perturbsets.runs.pipeline import MODULES
from perturbsets.stages import STAGES

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "perturbsets"]
COMMANDS = [*STAGES, "run", "recipes", "new", "schema", "doctor", "attack"]
SMALL: dict[str, Any] = {
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange"},
    "pairs": {"train": 1, "validation": 1, "test": 1},
    "model": {"build": "cvae.SpatialCVAE", "latent": 2},
    "sets": {"learned": {"build": "perturbsets.LatentBall"}},
    "classifier": {"build": "perturbsets.SmallConvNet"},
    "classifiers": {"plain": {"build": "perturbsets.StandardTraining"}},
    "adversaries": {"step": {"set": "learned", "ascent": {"build": "perturbsets.OneStep"}}},
}


@pytest.fixture(autouse=True)
def malloc_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tells when the program would set malloc, which would hold for all later tests."""
    calls: list[str] = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: calls.append("called"))
    return calls


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "output": str(tmp_path / "run")}))
    return file


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], terminal_width=200)


def words(text: str) -> str:
    """The words of a help page, without the lines drawn around them."""
    return " ".join(re.sub(r"[│╭╮╰╯─]|\x1b\[[0-9;]*m", " ", text).split())


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_within_half_a_second() -> None:
    times = []
    for _ in range(3):
        begun = _seconds_of_children()  # of computing: other tests run beside this one
        done = subprocess.run([*PROGRAM, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
        times.append(_seconds_of_children() - begun)
    print(f"perturbsets --help: {min(times):.2f} s")

    assert all(command in done.stdout for command in COMMANDS)
    assert min(times) <= 0.5


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from perturbsets.cli import app
try:
    app(["--help"])
except SystemExit as end:
    assert end.code == 0
print("heavy:", sorted({"torch", "numpy", "h5py", "matplotlib", "accelerate", "pydantic"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_that_of_the_table_or_its_docstring(command: str) -> None:
    shown = invoke(command, "--help")
    documented = STAGES[command].help if command in STAGES else inspect.getdoc(getattr(cli, command))

    assert documented
    assert shown.exit_code == 0
    assert words(documented) in words(shown.stdout)


def test_every_stage_has_a_command_and_a_function() -> None:
    assert {command.name or command.callback.__name__ for command in cli.app.registered_commands} == set(COMMANDS)
    for name, stage in STAGES.items():
        assert inspect.getdoc(getattr(MODULES[stage.module], name))


def test_packaged_recipes_are_listed_with_what_they_do() -> None:
    listed = dict(line.split(None, 1) for line in invoke("recipes").stdout.splitlines())

    assert set(listed) == {
        str(file.relative_to(ROOT / "recipes").with_suffix("")) for file in (ROOT / "recipes").rglob("*.yaml")
    }
    assert listed["digits/rts"].startswith("Learn rotation, translation and scale from pairs of handwritten digits")


@pytest.mark.parametrize("name", ["digits/rts", "recipes/digits/rts.yaml"])
def test_packaged_recipes_are_found_by_name_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_recipe(name, ["seed=3"]).output == "runs/digits-rts"
    shown = invoke("run", name, "fit.steps=0")
    assert "rts.yaml has 1 fault" in shown.stderr


def test_schema_is_that_of_recipes() -> None:
    shown = invoke("schema")

    assert json.loads(shown.stdout) == json.loads(json.dumps(Recipe.model_json_schema()))
    assert shown.stdout == (ROOT / "recipes" / "schema.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "recipe must be a YAML file or a run folder"),
        (["run", "RECIPE", "fit.steps=0"], "has 1 fault:\n  fit: steps must be at least 1, got 0"),
        (["run", "RECIPE", "steps"], "an override must look like key.key=value"),
        (["fit", "RECIPE"], "pairs.h5 is not there yet: run `perturbsets pairs"),
        (["check", "RECIPE"], "set is not there yet: run `perturbsets fit"),
        (["train", "RECIPE"], "set is not there yet: run `perturbsets fit"),
        (["evaluate", "RECIPE"], "set is not there yet: run `perturbsets fit"),
    ],
)
def test_errors_are_told_on_stderr_without_a_traceback(small: Path, arguments: list[str], message: str) -> None:
    shown = invoke(*(str(small) if argument == "RECIPE" else argument for argument in arguments))

    assert shown.exit_code == 2
    assert shown.stderr.startswith("error: ")
    assert message in shown.stderr
    assert shown.stderr.count("error: ") == 1
    assert "Traceback" not in shown.stderr + shown.stdout


def test_program_ends_with_status_2_and_one_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "run", tmp_path / "none.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: recipe must be a YAML file")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_bugs_keep_their_traceback(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import perturbsets.runs

    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(perturbsets.runs, "execute", broken)
    shown = invoke("run", small)

    assert isinstance(shown.exception, RuntimeError)


def test_overrides_reach_the_run(small: Path, tmp_path: Path) -> None:
    shown = invoke("pairs", small, f"output={tmp_path / 'other'}", "pairs.train=2")

    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "other" / "pairs.h5").is_file()
    assert yaml.safe_load((tmp_path / "other" / "recipe.yaml").read_text())["pairs"]["train"] == 2
    assert not (tmp_path / "run").exists()


def test_malloc_is_set_by_the_program_unless_told_not_to(small: Path, malloc_calls: list[str]) -> None:
    invoke("--no-tune-malloc", "run", "none.yaml")
    assert malloc_calls == []

    invoke("run", "none.yaml")
    assert malloc_calls == ["called"]


def test_the_version_and_the_machine_are_printed() -> None:
    assert invoke("--version").stdout == f"perturbsets {perturbsets.__version__}\n"
    assert invoke("-h").stdout == invoke("--help").stdout
    printed = invoke("doctor").stdout.splitlines()
    assert f"torch {torch.__version__.split('+')[0]}" in " ".join(printed)
    assert any(line.startswith("devices cpu") for line in printed)


def test_an_interruption_says_how_to_continue(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import perturbsets.runs

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(perturbsets.runs, "execute", interrupted)
    shown = invoke("run", small)

    assert shown.exit_code == 130
    assert shown.stderr == "interrupted: the same command continues where this one ended\n"


def test_quiet_prints_nothing_and_verbose_the_traceback(small: Path) -> None:
    assert invoke("-q", "pairs", small).output == ""
    assert isinstance(invoke("-v", "check", small).exception, FileNotFoundError)


def test_unknown_keys_come_with_near_ones_that_are_known_there(small: Path) -> None:
    shown = invoke("run", small, "fit.stepz=3", "chek.necessary.steps=1", "sets.learned.radiu=1", "fit.radius=1")

    assert "fit.stepz: unknown key, got 3: did you mean steps?" in shown.stderr
    assert "chek: unknown key, got {'necessary': {'steps': 1}}: did you mean check?" in shown.stderr
    assert "sets.learned.radiu: unknown key, got 1: did you mean radius?" in shown.stderr
    assert "fit.radius: unknown key, got 1\n" in shown.stderr
