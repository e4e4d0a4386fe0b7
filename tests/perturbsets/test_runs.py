from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from augment import PairStore
from perturbsets import check_held_out, load
from perturbsets.recipe import Recipe, read_recipe
from perturbsets.report.console import criteria
from perturbsets.runs import RunFolder, execute
from perturbsets.stages import STAGES

SMALL: dict[str, Any] = {
    "source": {"build": "augment.SegmentDigits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange", "rotation": 30, "scale": [0.9, 1.1], "shift": 0.1},
    "pairs": {"train": 1, "validation": 1, "test": 1},
    "model": {"build": "cvae.SpatialCVAE", "latent": 2, "hidden": 8, "features": 4, "grid": 2},
    "fit": {"steps": 4, "batch": 16, "validate_every": 2},
    "set": {"bank": 16},
    "check": {"necessary": {"steps": 2, "restarts": 1}, "sufficient": {"draws": 2}},
    "sets": {
        "learned": {"build": "perturbsets.LatentBall"},
        "pixels": {"build": "perturbsets.PixelBall", "norm": "linf", "radius": 0.1},
    },
    "auxiliary": {"rules": "segments"},
    "classifier": {"build": "perturbsets.SmallConvNet", "hidden": 8},
    "train": {"steps": 2, "batch": 16},
    "classifiers": {
        "plain": {"build": "perturbsets.StandardTraining"},
        "augmented": {"build": "perturbsets.AugmentedTraining", "set": "learned"},
        "adversarial": {
            "build": "perturbsets.LargerLossTraining",
            "set": "learned",
            "ascent": {"build": "perturbsets.OneStep"},
        },
        "helped": {
            "build": "perturbsets.multi_label.DualS1",
            "set": "pixels",
            "ascent": {"build": "perturbsets.OneStep"},
        },
        "shared": {
            "build": "perturbsets.multi_label.DualS2",
            "set": "pixels",
            "ascent": {"build": "perturbsets.OneStep"},
            "auxiliary_network": "shared",
            "rules_weight": 0.5,
        },
    },
    "adversaries": {"step": {"set": "pixels", "ascent": {"build": "perturbsets.OneStep"}}},
    "certify": {
        "coverage": {"share": 0.5, "alpha": 0.5, "steps": 2, "restarts": 1},
        "radius": {"tolerance": 0.2, "share": 0.5, "alpha": 0.5, "steps": 2, "restarts": 1, "rounds": 1},
        "smoothing": {
            "vote": {
                "classifier": "plain",
                "set": "learned",
                "sigma": 0.5,
                "images": 8,
                "selection": 4,
                "draws": 20,
                "alpha": 0.1,
                "contradictions": True,
            }
        },
    },
    "representations": {
        "classifier": "plain",
        "layers": ["layers.8"],
        "activation": "none",  # with two steps of training units may be dead
        "pairs": 2,
        "right": False,
        "radius": 0.3,
        "radii": [],
        "steps": 2,
        "random": False,
        "shown": 1,
    },
    "labels": {
        "images": 8,
        "attacks": {
            "any": {"set": "learned", "ascent": {"build": "perturbsets.OneStep"}},
            "hide": {
                "set": "pixels",
                "objective": {"build": "perturbsets.multi_label.LabelMargin", "targeted": True},
                "ascent": {"build": "perturbsets.OneStep"},
                "hide": ["g"],
                "show": ["a"],
            },
        },
        "least": {"show": ["b"], "images": 2, "steps": 2},
        "universal": {"one": {"set": "pixels", "images": 8, "epochs": 1}},
        "detector": {"classifiers": ["plain"], "adversaries": ["step"], "weights": [1.0]},
        "shown": 2,
    },
}
FILES = {
    "recipe.yaml",
    "run.json",
    "pairs.h5",
    "fit/checkpoint.safetensors",
    "fit/metrics.jsonl",
    "set/config.json",
    "set/model.safetensors",
    "set/set.json",
    "set/bank.safetensors",
    "set/learned_from.safetensors",
    "checks/checks.json",
    "checks/arrays.safetensors",
    "evaluation/evaluation.json",
    "evaluation/labels.json",
    "evaluation/correct.safetensors",
    "evaluation/audits.json",
    "evaluation/pictures.json",
    "evaluation/pictures.safetensors",
    "certificates/certificates.json",
    "certificates/arrays.safetensors",
    "representations/representations.json",
    "representations/arrays.safetensors",
    "auxiliary/0/model.safetensors",
    "auxiliary/0/thresholds.json",
    "auxiliary/scores.json",
    "classifiers/costs.json",
    "labels/labels.json",
    "labels/arrays.safetensors",
    "report.html",
    *(f"classifiers/{name}/0/model.safetensors" for name in SMALL["classifiers"]),
}


def recipe_for(output: Path, overrides: Sequence[str] = ()) -> Recipe:
    file = output.parent / f"{output.name}.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "output": str(output)}, sort_keys=False))
    return read_recipe(file, overrides)


def files_of(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of all stages, in this process, so that shapes are checked on the way."""
    return execute(recipe_for(tmp_path_factory.mktemp("runs") / "finished"))


def test_all_stages_leave_their_files(finished: RunFolder) -> None:
    found = files_of(finished.path)

    assert found >= FILES
    assert list(finished.about["stages"]) == list(STAGES)
    assert {entry["processes"] for entry in finished.about["stages"].values()} == {1}
    assert not [name for name in found if name.endswith((".pt", ".pth", ".bin", ".pkl", ".ckpt"))]
    assert not [name for name in found if Path(name).name.startswith(".")], "half-written files"


def test_a_set_knows_what_it_was_learned_from(finished: RunFolder) -> None:
    learned = load(finished.path)

    assert [(use.purpose, use.splits) for use in learned.learned_from] == [
        ("fit", ("train",)),
        ("selection", ("validation",)),
    ]
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match="take the split 'test'"):
            check_held_out(learned, PairStore(finished.path / "pairs.h5", split))


def test_results_are_complete(finished: RunFolder) -> None:
    checks = json.loads((finished.path / "checks" / "checks.json").read_text())
    table = json.loads((finished.path / "evaluation" / "evaluation.json").read_text())

    assert checks["radius"]["value"] >= 0
    assert checks["necessary"]["pairs"] == checks["radius"]["pairs"] == 300
    assert checks["fitted"]["latent"] == load(finished.path).model.latent
    assert f"The set is {finished.grade()}." in (finished.path / "report.html").read_text()
    assert set(table["descriptions"]) == {"clean", "step"}
    assert table["descriptions"]["step"] == "pixels: OneStep()"
    assert finished.about["seed"] == 0
    assert finished.about["versions"]["torch"]


def test_no_likelihood_is_shown_without_its_warning(finished: RunFolder) -> None:
    checks = json.loads((finished.path / "checks" / "checks.json").read_text())
    entries = [checks, *checks["radii"]]  # two draws a pair: nothing can be trusted
    console = Console(width=1000, record=True, file=io.StringIO())
    console.print(criteria(checks))
    for text in (console.export_text(), (finished.path / "report.html").read_text()):
        for entry in entries:
            sufficient = entry["sufficient"]
            least = sufficient["bits_per_pixel"]["at_least"]
            assert sufficient["bits_per_pixel"]["trusted"] is False
            assert f"≥ {math.floor(100 * least) / 100:.2f}" in text
            assert sufficient["warning"] in text
    assert checks["theorems"]["warning"] == checks["sufficient"]["warning"]


def test_second_run_does_nothing(finished: RunFolder) -> None:
    def state() -> dict[str, int]:
        return {name: (finished.path / name).stat().st_mtime_ns for name in files_of(finished.path)}

    before, about = state(), finished.about
    again = execute(read_recipe(finished.path))

    assert state() == before
    assert again.about == about


def test_results_of_another_recipe_are_refused_with_keys_stages_and_remedies(finished: RunFolder) -> None:
    message = (
        r"come from another recipe: fit\.steps is 4 there and 5 here; check\.necessary\.steps is 2 there and 3 here\. "
        r"Stages that depend on it: fit, check, auxiliary, train, .*`perturbsets run \.\.\. --restart fit`.*output="
    )

    with pytest.raises(ValueError, match=message):
        execute(read_recipe(finished.path, ["fit.steps=5", "check.necessary.steps=3"]))
    with pytest.raises(ValueError, match=r"seed is 0 there and 9 here\. Stages that depend on it: pairs, fit"):
        execute(read_recipe(finished.path, ["seed=9"]), "fit")
    with pytest.raises(ValueError, match=r"depend on it: labels\. .*--restart labels"):
        execute(read_recipe(finished.path, ["labels.images=9"]), "check")


def test_a_recipe_may_change_where_no_result_depends_on_it(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "run")
    run = execute(recipe, "pairs")
    RunFolder(read_recipe(run.path, ["fit.steps=5", "check.necessary.steps=3"]))

    assert run.done("pairs")
    assert read_recipe(run.path).fit.steps == 5
    with pytest.raises(ValueError, match=r"depend on it: pairs\."):
        RunFolder(read_recipe(run.path, ["change.rotation=10"]))


def test_sets_classifiers_and_adversaries_may_be_added(tmp_path: Path) -> None:
    run = RunFolder(recipe_for(tmp_path / "run"))
    for name, stage in STAGES.items():
        run.finish(name, 1.0, processes=1)
        run.write_json(f"{stage.writes[0]}/of.json" if "." not in stage.writes[0] else stage.writes[0], {})
    more = "{set: pixels, ascent: {build: perturbsets.OneStep}}"

    RunFolder(read_recipe(run.path, [f"adversaries.more={more}"]))
    assert list(run.about["stages"]) == ["pairs", "fit", "check", "auxiliary", "train", "certify", "representations"]
    RunFolder(read_recipe(run.path, ["classifiers.more={build: perturbsets.StandardTraining}"]))
    assert list(run.about["stages"]) == ["pairs", "fit", "check", "auxiliary"]
    assert (run.path / "classifiers").is_dir()


def test_a_restart_removes_the_results_that_depend_on_a_stage(tmp_path: Path) -> None:
    run = RunFolder(recipe_for(tmp_path / "run"))
    for name, stage in STAGES.items():
        run.finish(name, 1.0, processes=1)
        run.write_json(f"{stage.writes[0]}/of.json" if "." not in stage.writes[0] else stage.writes[0], {})

    RunFolder(read_recipe(run.path, ["train.steps=3"]), "auxiliary", remove=True)

    assert list(run.about["stages"]) == ["pairs", "fit", "check"]
    assert {path.name for path in run.path.iterdir()} == {"recipe.yaml", "run.json", "pairs.h5", "fit", "checks"}
    with pytest.raises(ValueError, match=r"for the stage stir, got none: its stages are pairs, fit"):
        execute(read_recipe(run.path), restart="stir")


def test_every_section_of_a_recipe_is_read_by_a_stage() -> None:
    read = {key.split(".")[0] for stage in STAGES.values() for key in stage.reads}

    assert read == set(Recipe.model_fields) - {"seed", "output"}


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["pairs.of={build: augment.PairedFolders, clean: nowhere, changed: .}"], r"pairs\.of\.clean must be a folder"),
        (["pairs.path=none.h5"], r"pairs\.path: path must be a pair file, got none\.h5"),
    ],
)
def test_files_are_checked_before_the_folder_is_made(tmp_path: Path, overrides: list[str], fault: str) -> None:
    recipe = tmp_path / "small.yaml"
    kept = ("source", "change", "pairs", "model", "fit")
    recipe.write_text(yaml.safe_dump({**{key: SMALL[key] for key in kept}, "output": str(tmp_path / "run")}))

    with pytest.raises(ValueError, match=rf"recipe must fit its data, got:\n  {fault}"):
        execute(read_recipe(recipe, overrides))
    assert not (tmp_path / "run").exists()


def test_moved_run_folder_is_still_the_same_run(finished: RunFolder) -> None:
    recipe = read_recipe(finished.path, [f"output={os.path.relpath(finished.path)}"])

    assert RunFolder(recipe).done("report")


def test_rerun_stage_marks_later_ones_unfinished(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "run")
    run = RunFolder(recipe)
    names = list(STAGES)
    for name in names:
        run.finish(name, 1.0, processes=1)
    assert list(run.about["stages"]) == names

    execute(recipe, "pairs")

    assert list(run.about["stages"]) == ["pairs"]
    assert not run.done("fit")


def test_stages_alone_give_the_same_as_a_whole_run(finished: RunFolder, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "alone")
    for name in ("pairs", "fit", "check"):
        run = execute(recipe, name)

    for name in ("set/model.safetensors", "set/bank.safetensors", "fit/metrics.jsonl", "checks/checks.json"):
        assert (run.path / name).read_bytes() == (finished.path / name).read_bytes(), name


@pytest.mark.parametrize(
    ("stage", "missing", "command"),
    [
        ("fit", "pairs.h5", "pairs"),
        ("check", "set", "fit"),
        ("train", "set", "fit"),
        ("evaluate", "set", "fit"),
    ],
)
def test_stage_without_its_input_says_which_command_makes_it(
    tmp_path: Path, stage: str, missing: str, command: str
) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(missing)} is not there yet: run `perturbsets {command} "):
        execute(recipe_for(tmp_path / "run"), stage)

    assert not (tmp_path / "run" / "run.json").exists()


def test_evaluation_without_classifiers_says_which_command_makes_them(finished: RunFolder, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "run")
    run = RunFolder(recipe)
    (run.path / "set").symlink_to(finished.path / "set")

    with pytest.raises(FileNotFoundError, match=r"classifiers/.*/0 is not there yet: run `perturbsets train "):
        execute(recipe, "evaluate")


def test_classifiers_are_trained_by_any_method_with_schedule_and_validation(
    finished: RunFolder, tmp_path: Path
) -> None:
    start = "{build: perturbsets.OneStep, starts: uniform}"
    methods = {
        "trades": f"{{build: perturbsets.TRADES, set: learned, ascent: {start}}}",
        "mart": f"{{build: perturbsets.MART, set: pixels, ascent: {start}}}",
        "free": "{build: perturbsets.FreeAdversarialTraining, set: pixels, replays: 2}",
        "aligned": "{build: perturbsets.GradientAlignment, set: pixels, method: {build: perturbsets.StandardTraining}}",
        "moved": "{build: perturbsets.AdversarialWeightPerturbation, method: {build: perturbsets.StandardTraining}}",
    }
    recipe = recipe_for(
        tmp_path / "run",
        [
            *(f"classifiers.{name}={method}" for name, method in methods.items()),
            f"validation={{set: pixels, images: 20, drop: 1, ascent: {start}}}",
            "schedule={build: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.01}",
        ],
    )
    run = RunFolder(recipe)
    for former in ("set", "auxiliary"):
        (run.path / former).symlink_to(finished.path / former)
    execute(recipe, "train")
    execute(recipe, "report")

    for name in [*SMALL["classifiers"], *methods]:
        folder = run.path / "classifiers" / name / "0"
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        assert 20 * last["robust_accuracy"] == pytest.approx(round(20 * last["robust_accuracy"]))
        assert last["score"] == 1 - last["robust_accuracy"]
        assert (folder / "model.safetensors").exists()
    assert "trades" in (run.path / "report.html").read_text()


def test_pairs_of_another_size_are_refused(finished: RunFolder, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "run", ["source.size=12"])
    execute(recipe, "pairs")
    (tmp_path / "run" / "set").symlink_to(finished.path / "set")

    with pytest.raises(ValueError, match=r"must have shape \[B, 1, 8, 8\].*got \[\d+, 1, 12, 12\]"):
        execute(recipe, "check")


def test_folder_with_strange_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("precious")

    with pytest.raises(ValueError, match=r"holds files of something else \(chapter\.tex, \.\.\.\) and no recipe\.yaml"):
        execute(recipe_for(folder))
    assert files_of(folder) == {"chapter.tex"}


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")

    with pytest.raises(ValueError, match=r"output must be a folder, got .*, which is a file: choose another output="):
        execute(recipe_for(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "run")
    RunFolder(recipe)
    (tmp_path / "run").chmod(0o500)

    with pytest.raises(PermissionError, match=r"is not writable: choose another one by output="):
        execute(recipe)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_parent_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    recipe = recipe_for(closed / "run")
    closed.chmod(0o500)

    with pytest.raises(OSError, match="the folder is not writable"):
        execute(recipe)


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = RunFolder(recipe_for(tmp_path / "run"))

    assert files_of(run.path) == {"recipe.yaml"}
    assert run.about == {"stages": {}}


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_recipe_in_the_folder_that_was_damaged_is_refused(tmp_path: Path, text: str) -> None:
    recipe = recipe_for(tmp_path / "run")
    RunFolder(recipe)
    (tmp_path / "run" / "recipe.yaml").write_text(text)

    with pytest.raises(ValueError, match=r"(?s)recipe\.yaml was damaged .*bring it back, remove the folder, or choose"):
        RunFolder(recipe)


def test_record_of_the_run_that_was_damaged_is_refused(tmp_path: Path) -> None:
    run = RunFolder(recipe_for(tmp_path / "run"))
    (run.path / "run.json").write_text('{"stages": ')

    with pytest.raises(ValueError, match=r"run\.json was damaged .*: bring it back"):
        run.done("pairs")


def test_seeds_and_sets_of_a_recipe_reach_the_classifiers(finished: RunFolder) -> None:
    lines = (finished.path / "classifiers" / "plain" / "0" / "metrics.jsonl").read_text().splitlines()

    assert json.loads(lines[-1])["step"] == 2
