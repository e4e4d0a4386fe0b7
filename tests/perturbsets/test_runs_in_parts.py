"""Recipes that do a part of the work: pairs alone, a set from a pair file, classifiers from a set, judgement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from augment import PairStore
from perturbsets import LatentBall, load
from perturbsets.recipe import read_recipe
from perturbsets.runs import RunFolder, execute

DIGITS: dict[str, Any] = {"build": "augment.Digits", "size": 8, "digit": 8}
FIT: dict[str, Any] = {
    "fit": {"steps": 2, "batch": 8, "validate_every": 2},
    "set": {"bank": 8},
    "check": {"necessary": {"steps": 1, "restarts": 1}, "sufficient": {"draws": 1}},
}
RANDOM: dict[str, Any] = {"build": "perturbsets.RandomSearch", "draws": 1}


def run(folder: Path, name: str, **content: Any) -> RunFolder:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"output": str(folder / name), **content}, sort_keys=False))
    return execute(read_recipe(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs, each of which takes what it needs from the one before."""
    here = tmp_path_factory.mktemp("parts")
    corrupted = {"build": "augment.RandomCorruption", "severities": [5]}
    run(
        here,
        "pairs",
        source=DIGITS,
        change={**corrupted, "names": ["fog", "contrast"]},
        unseen={**corrupted, "names": ["gaussian_noise"]},
        pairs={"train": 1, "validation": 1, "test": 2, "unseen": 1},
    )
    model = {"build": "cvae.ResidualCVAE", "latent": 8, "hidden": 4}
    run(here, "set", pairs={"path": str(here / "pairs" / "pairs.h5")}, model=model, **FIT)
    sets = {"learned": {"build": "perturbsets.LatentBall"}}
    adversaries = {"draw": {"set": "learned", "ascent": RANDOM}}
    run(
        here,
        "trained",
        source=DIGITS,
        learned=str(here / "set"),
        sets=sets,
        classifier={"build": "perturbsets.SmallConvNet", "hidden": 8, "widths": [4]},
        train={"steps": 2, "batch": 8},
        seeds=[0, 1],
        classifiers={
            "plain": {"build": "perturbsets.StandardTraining"},
            "augmented": {"build": "perturbsets.AugmentedTraining", "set": "learned"},
        },
        adversaries=adversaries,
        evaluate={"images": 8},
    )
    run(
        here,
        "judged",
        source=DIGITS,
        learned=str(here / "set" / "set"),
        trained=str(here / "trained"),
        seeds=[0, 1],
        sets=sets,
        adversaries=adversaries | {"more": {"set": "learned", "ascent": {**RANDOM, "draws": 2}}},
        evaluate={"images": 8},
    )
    return here


def stages(folder: Path) -> list[str]:
    return list(json.loads((folder / "run.json").read_text())["stages"])


def test_each_run_does_what_its_sections_call_for(folder: Path) -> None:
    assert stages(folder / "pairs") == ["pairs", "report"]
    assert stages(folder / "set") == ["fit", "check", "report"]
    assert stages(folder / "trained") == ["train", "evaluate", "report"]
    assert stages(folder / "judged") == ["evaluate", "report"]


def test_unseen_conditions_are_a_split_of_other_images(folder: Path) -> None:
    whole = PairStore(folder / "pairs" / "pairs.h5")
    test, unseen = (PairStore(folder / "pairs" / "pairs.h5", split) for split in ("test", "unseen"))

    assert whole.splits == ("train", "validation", "test", "unseen")
    assert not set(test.sources.tolist()) & set(unseen.sources.tolist())
    assert (len(test), len(unseen)) == (300, 150)
    assert {whole.conditions[int(row)] for row in test.condition} == {"fog", "contrast"}
    assert {whole.conditions[int(row)] for row in unseen.condition} == {"gaussian_noise"}


def test_pairs_are_counted_and_shown(folder: Path) -> None:
    counted = json.loads((folder / "pairs" / "pairs.json").read_text())
    page = (folder / "pairs" / "report.html").read_text()

    assert counted["counts"]["unseen"] == {"gaussian_noise": 150}
    assert counted["skipped"] == []
    assert "gaussian_noise 150" in page
    assert "This run makes pairs of clean and changed images." in page
    with Image.open(folder / "pairs" / "figures" / "pairs-sheet.png") as sheet:
        assert sheet.width > 100


def test_the_set_is_checked_on_both_kinds_of_conditions(folder: Path) -> None:
    checks = json.loads((folder / "set" / "checks" / "checks.json").read_text())

    assert checks["necessary"]["pairs"] == 300
    assert checks["unseen"]["necessary"]["pairs"] == 150
    for content in (checks, checks["unseen"]):
        assert content["quality"]["features"] == "RandomFeatures"
        assert content["quality"]["frechet"]["real"] > 0
    page = (folder / "set" / "report.html").read_text()
    assert "The criteria under unseen conditions" in page
    assert "Fréchet distance" in page
    assert isinstance(load(folder / "set"), LatentBall)


def test_classifiers_of_another_run_are_judged_alike(folder: Path) -> None:
    first, second = (
        json.loads((folder / name / "evaluation" / "evaluation.json").read_text()) for name in ("trained", "judged")
    )

    assert second["rows"] == ["plain", "augmented"]
    assert second["columns"] == ["clean", "draw", "more"]
    for row in second["rows"]:
        assert second["accuracy"][row]["clean"] == first["accuracy"][row]["clean"]
        assert second["accuracy"][row]["draw"] == first["accuracy"][row]["draw"]
    page = (folder / "judged" / "report.html").read_text()
    assert "This run attacks the classifiers of another run." in page
    assert "needs another stage" not in page


def test_a_run_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    sections = {"source": DIGITS, "adversaries": {}}

    with pytest.raises(ValueError, match=r"trained: .*nowhere"):
        run(tmp_path, "judged", trained=str(tmp_path / "nowhere"), **sections)
    with pytest.raises(FileNotFoundError, match=r"classifiers/plain/7 is not there yet"):
        run(tmp_path, "other", trained=str(folder / "trained"), seeds=[7], **sections)


def save(file: Path, seed: int, shape: tuple[int, int] = (16, 16)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.mark.parametrize("strict", [False, True])
def test_collected_pairs_leave_out_what_cannot_be_read(strict: bool, tmp_path: Path) -> None:
    for number in range(12):
        for side in ("clean", "changed"):
            save(tmp_path / side / f"{number}.png", number)
    (tmp_path / "changed" / "5.png").write_bytes(b"no picture")
    folders = {name: str(tmp_path / name) for name in ("clean", "changed")}
    pairs = {"of": {"build": "augment.PairedFolders", **folders}, "strict": strict}

    if strict:
        with pytest.raises(ValueError, match=r"strict: .*5\.png"):
            run(tmp_path, "pairs", pairs=pairs)
        return
    made = run(tmp_path, "pairs", pairs=pairs)
    counted = json.loads((made.path / "pairs.json").read_text())
    assert counted["pairs"] == 11
    assert len(counted["skipped"]) == 1
    assert "5.png" in counted["skipped"][0]
    assert "5.png" in (made.path / "report.html").read_text()


def test_segmentation_under_changes_of_light(tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    for split, scenes_of in (("train", range(3)), ("validation", range(3, 4)), ("test", range(4, 6))):
        for scene in scenes_of:
            for light in range(3):
                save(root / split / f"scene{scene}" / f"dir_{light}_mip5.png", 10 * scene + light, (16, 24))
            materials = Image.fromarray(torch.arange(16 * 24, dtype=torch.uint8).view(16, 24).numpy() % 3)
            materials.save(root / split / f"scene{scene}" / "materials_mip5.png")
    scenes = {"root": str(root), "size": [16, 24]}
    run(tmp_path, "pairs", pairs={"of": {"build": "augment.Scenes", **scenes}})
    model = {"build": "cvae.UNetCVAE", "latent": 8, "hidden": 4, "scales": 2}
    run(tmp_path, "set", pairs={"path": str(tmp_path / "pairs" / "pairs.h5")}, model=model, **FIT)

    objective = {"build": "perturbsets.SegmentationCrossEntropy"}
    climb = {"build": "perturbsets.ProjectedGradient", "starts": "sample", "steps": 1}
    made = run(
        tmp_path,
        "segment",
        source={"build": "augment.SceneMaterials", **scenes, "materials": 3},
        learned=str(tmp_path / "set"),
        sets={"learned": {"build": "perturbsets.LatentBall"}},
        classifier={"build": "perturbsets.SmallUNet", "widths": [4, 4]},
        train={"steps": 2, "batch": 2},
        classifiers={
            "plain": {"build": "perturbsets.StandardTraining"},
            "adversarial": {
                "build": "perturbsets.AdversarialTraining",
                "set": "learned",
                "objective": objective,
                "ascent": climb,
            },
        },
        adversaries={"latent": {"set": "learned", "objective": objective, "ascent": climb}},
    )

    table = json.loads((made.path / "evaluation" / "evaluation.json").read_text())
    assert table["images"] == 6
    assert 0 < table["accuracy"]["plain"]["clean"]["mean"] < 1
    assert stages(made.path) == ["train", "evaluate", "report"]


def test_a_fit_does_not_pass_for_one_of_other_pairs(folder: Path, tmp_path: Path) -> None:
    pairs = {"train": 1, "validation": 1, "test": 1}
    change = {"build": "augment.Corruption", "name": "fog"}
    model = {"build": "cvae.ConvCVAE", "latent": 2, "hidden": 4, "features": 4}
    made = run(tmp_path, "set", source=DIGITS, change=change, pairs=pairs, model=model, **FIT)
    store = made.path / "pairs.h5"
    content = bytearray(store.read_bytes())
    content[len(content) // 3] ^= 1  # another pixel
    store.write_bytes(content)

    with pytest.raises(ValueError, match=r"(?s)other settings.*pairs=.*remove this one to begin anew"):
        execute(read_recipe(made.path), "fit")
