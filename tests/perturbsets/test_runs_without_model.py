"""Recipes that learn no set: classifiers, attacks, audits and the fixed ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from perturbsets.recipe import read_recipe
from perturbsets.runs import RunFolder, execute

STEP: dict[str, Any] = {"build": "perturbsets.OneStep"}
SMALL: dict[str, Any] = {
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange", "shear": 10},
    "sets": {
        "pixels": {"build": "perturbsets.PixelBall", "norm": "linf", "radius": 0.1},
        "endless": {"build": "perturbsets.PixelBall", "norm": "l2", "radius": float("inf")},
        "turns": {"build": "perturbsets.SpatialBox"},
        "both": {"build": "perturbsets.ComposedSet", "sets": ["turns", "pixels"]},
    },
    "classifier": {"build": "perturbsets.SmallConvNet", "hidden": 8, "widths": [4, 8]},
    "train": {"steps": 2, "batch": 16},
    "seeds": [0, 1],
    "classifiers": {
        "plain": {"build": "perturbsets.StandardTraining"},
        "fast": {"build": "perturbsets.AdversarialTraining", "set": "pixels", "ascent": {**STEP, "starts": "uniform"}},
    },
    "adversaries": {
        "step": {"set": "pixels", "ascent": STEP},
        "both": {"set": "both", "objective": {"build": "perturbsets.Margin"}, "ascent": STEP},
        "draws": {"set": "turns", "ascent": {"build": "perturbsets.RandomSearch", "draws": 2}},
        "grid": {"set": "turns", "ascent": {"build": "perturbsets.GridSearch", "points": 1}},
        "plainly": {"set": "endless", "ascent": {"build": "perturbsets.GradientAscent", "step_size": 0.1, "steps": 2}},
    },
    "evaluate": {
        "images": 20,
        "shown": 3,
        "audit": {"images": 10, "draws": 2},
        "robustness": {"sets": ["pixels", "turns"], "images": 12, "steps": 2, "queries": 3, "targets": 2},
    },
}


def write(folder: Path, **changes: Any) -> Path:
    file = folder / "recipe-of-mine.yaml"
    content = {**SMALL, "output": str(folder / "run"), **changes}
    file.write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None}, sort_keys=False)
    )
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return execute(read_recipe(write(tmp_path_factory.mktemp("runs"))))


def test_nothing_is_learned_and_everything_is_judged(finished: RunFolder) -> None:
    assert list(finished.about["stages"]) == ["train", "evaluate", "report"]
    held = yaml.safe_load((finished.path / "recipe.yaml").read_text())
    assert not {"pairs", "fit", "set", "check"} & set(held)
    assert held["model"] is None

    table = json.loads((finished.path / "evaluation" / "evaluation.json").read_text())
    assert table["images"] == 20
    assert table["descriptions"]["both"] == "both: Margin(), OneStep()"


def test_only_searches_for_the_worst_are_audited(finished: RunFolder) -> None:
    audits = json.loads((finished.path / "evaluation" / "audits.json").read_text())

    assert audits["images"] == 10
    assert {row: list(cells) for row, cells in audits["rows"].items()} == {
        "plain": ["step", "both", "pixels: apgd-ce", "turns: apgd-ce"],
        "fast": ["step", "both", "pixels: apgd-ce", "turns: apgd-ce"],
    }
    transfer = {row: cells["step"]["checks"][-1]["passed"] for row, cells in audits["rows"].items()}
    assert transfer["plain"] is None
    assert transfer["fast"] is not None


def test_the_ensemble_is_kept_for_every_seed(finished: RunFolder) -> None:
    content = json.loads((finished.path / "evaluation" / "robustness.json").read_text())

    assert content["sets"] == ["pixels", "turns"]
    for results in content["rows"].values():
        assert [result["seed"] for result in results] == [0, 1]
        assert all(result["images"] == 12 for result in results)
        assert list(results[0]["broken"])[-1] == "turns: random"
    assert list((finished.path / "evaluation" / "robustness" / "fast" / "1").glob("*.safetensors"))


def test_pictures_are_of_images_that_were_right(finished: RunFolder) -> None:
    made = load_file(finished.path / "evaluation" / "pictures.safetensors")

    assert len(made["clean"]) <= 3
    assert ("step/images" in made) == (len(made["clean"]) > 0)


def test_the_report_leaves_out_what_was_not_learned(finished: RunFolder) -> None:
    text = (finished.path / "report.html").read_text()

    for key in ("training", "accuracy", "audit", "robustness"):
        assert f'<section id="{key}">' in text
    for key in ("pairs", "samples", "walk", "norms", "criteria"):
        assert f'<section id="{key}">' not in text
    assert "This run trains classifiers and attacks them." in text
    assert "needs another stage" not in text


def test_a_second_evaluation_continues_from_what_is_kept(finished: RunFolder) -> None:
    before = (finished.path / "evaluation" / "robustness.json").read_text()
    execute(read_recipe(finished.path), "evaluate")

    assert (finished.path / "evaluation" / "robustness.json").read_text() == before
    execute(read_recipe(finished.path))


@pytest.mark.parametrize("stage", ["pairs", "fit", "check"])
def test_stages_without_a_model_are_refused(stage: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"must have sections for the stage {stage}, got none: its stages are train, "):
        execute(read_recipe(write(tmp_path)), stage)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"fit": {"steps": 3}, "learned": "x", "model": {"build": "cvae.SpatialCVAE"}}, ["learned must come without"]),
        ({"fit": {"steps": 3}, "set": {"bank": 2}}, ["fit must come with a model", "set must come with a model"]),
        ({"change": None}, ["sets.turns must come with a change"]),
        ({"change": {"build": "cvae.Nothing"}}, ["change"]),
        ({"change": None, "model": {"build": "cvae.SpatialCVAE"}}, ["pairs must come with a change"]),
        ({"source": None, "pairs": {"train": 2}}, ["pairs must come with a source", "classifiers must come with"]),
        ({"trained": "runs/x"}, ["trained must come without classifiers"]),
        (
            {"unseen": {"build": "augment.SpatialChange"}},
            ["unseen must come with pairs that are made here, or"],
        ),
        (
            {"classifiers": None, "source": None},
            [
                "recipe must have pairs to make, a model to fit, classifiers or an auxiliary classifier "
                "to train or evaluate"
            ],
        ),
        (
            {"sets": {**SMALL["sets"], "learned": {"build": "perturbsets.LatentBall"}}},
            ["sets.learned must come with a model or a learned set in the recipe"],
        ),
        (
            {"sets": {"both": SMALL["sets"]["both"], **SMALL["sets"], "pixels": SMALL["sets"]["pixels"]}},
            ["sets.both.sets must name sets given before this one, [], got 'turns'"],
        ),
        ({"evaluate": {"robustness": {"sets": ["strange"]}}}, ["evaluate.robustness.sets.0 must be one of"]),
        ({"evaluate": {"audit": {"images": 0}, "shown": 0}}, ["evaluate.audit.images", "evaluate.shown"]),
    ],
)
def test_what_does_not_fit_together_is_listed(changes: dict[str, Any], messages: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fault") as caught:
        read_recipe(write(tmp_path, **changes))
    for message in messages:
        assert message in str(caught.value)
