"""The stage on representations, from recipe to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torchvision.transforms.v2.functional import to_pil_image

from perturbsets.recipe import read_recipe
from perturbsets.report import write_report
from perturbsets.runs import execute

SECTION: dict[str, Any] = {
    "classifier": "plain",
    "layers": ["layers.1", "layers.6"],
    "pairs": 6,
    "guides": ["train", "test"],
    "radius": 0.2,
    "radii": [0.1],
    "steps": 10,
    "shown": 2,
    "sets": ["spatial"],
}
RECIPE: dict[str, Any] = {
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange", "rotation": 20},
    "sets": {"spatial": {"build": "perturbsets.SpatialBox"}},
    "classifier": {"build": "perturbsets.SmallConvNet", "widths": [4, 8], "hidden": 16},
    "train": {"steps": 60, "batch": 64, "learning_rate": 0.01},
    "seeds": [0, 1],
    "classifiers": {"plain": {"build": "perturbsets.StandardTraining"}},
    "representations": SECTION,
}
MEASURES = {"ratio", "guide_ratio", "source_ratio", "neighbours", "rank_change", "drop", "consistency"}


def carried_out(tmp_path: Path, content: dict[str, Any]) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**content, "output": str(tmp_path / "run")}))
    recipe = read_recipe(file)
    for stage in recipe.stages:
        if stage in ("pairs", "fit", "train", "representations"):
            execute(recipe, stage)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(tmp_path_factory.mktemp("representations"), RECIPE)


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "representations" / "representations.json").read_text())
    return content


def test_every_layer_is_described(found: dict[str, Any]) -> None:
    assert found["layers"] == ["layers.1", "layers.6"]
    for entry in found["by_layer"].values():
        assert entry.keys() >= MEASURES
        assert 0 < entry["ratio"]["mean"] < 1
        shares = [entry["labels"][name]["mean"] for name in ("takes_guide", "keeps_source", "other")]
        assert sum(shares) == pytest.approx(1)
        assert all(entry["drop"][kind]["median"] <= 0 for kind in ("adversary", "close", "far"))
        assert 1 <= entry["dimension"] < 14


def test_larger_changes_come_nearer(found: dict[str, Any]) -> None:
    for layer, curve in found["by_radius"].items():
        assert [point["radius"] for point in curve] == [0.1, 0.2]
        assert curve[0]["ratio"]["mean"] > curve[1]["ratio"]["mean"]
        assert curve[1]["ratio"] == found["by_layer"][layer]["ratio"]


def test_relatives_stand_beside(found: dict[str, Any]) -> None:
    kinds = found["kinds"]
    assert {"feature-opt", "feature-linear", "feature-fgrad", "label-opt", "label-fgrad"} < set(kinds)
    assert kinds["feature-opt"]["ratio"]["mean"] < kinds["feature-fgrad"]["ratio"]["mean"]
    assert "ratio" not in kinds["label-opt"]
    assert "feature-fgrad, as if without a guide" in kinds
    assert kinds["feature-linear"]["gap"]["largest"] <= 2e-3  # a thousandth, of values that may be a thousandth
    assert list(found["sensitivity"])[:2] == ["1", "2"]
    assert kinds["label-opt"]["labels"]["takes_guide"]["mean"] == 1
    assert 0 <= kinds["feature-linear"]["gap"]["median"] <= kinds["feature-linear"]["gap"]["largest"]


def test_guides_networks_and_sets_are_compared(found: dict[str, Any]) -> None:
    assert list(found["guides"]) == ["train", "test"]
    assert found["guides"]["train"]["ratio"] == found["by_layer"]["layers.6"]["ratio"]
    assert {name: list(looked) for name, looked in found["random"].items()} == {
        "random": found["layers"],
        "orthonormal": found["layers"],
    }
    assert list(found["transfer"]) == ["plain (1)"]
    assert list(found["sets"]) == ["spatial"]
    for curve in found["detection"].values():
        assert 0 <= curve["area"]["low"] <= curve["area"]["mean"] <= curve["area"]["high"] <= 1


def test_pictures_are_kept_and_banks_are_not(run: Path) -> None:
    arrays = safetensors.torch.load_file(run / "representations" / "arrays.safetensors")
    change = arrays["shown/adversary"] - arrays["shown/source"]
    assert 0.1 < float(change.abs().max()) <= 0.2 + 1e-6
    assert arrays["shown/adversary-inverted"].shape == (2, 1, 8, 8)
    assert sorted(path.name for path in run.iterdir()) == ["classifiers", "recipe.yaml", "representations", "run.json"]


def test_the_report_shows_all_of_it(run: Path) -> None:
    page = write_report(run).read_text()
    for title in ("Feature adversaries", "Naturalness of their representations", "Five adversaries", "In other sets"):
        assert title in page
    for name in ("features", "feature-radius", "feature-drop", "feature-consistency", "feature-detection"):
        assert (run / "figures" / f"{name}.png").is_file()


def test_the_same_recipe_gives_the_same_figures(found: dict[str, Any], tmp_path: Path) -> None:
    section = {**SECTION, "random": False, "sets": [], "guides": ["train"]}
    again = carried_out(tmp_path, {**RECIPE, "representations": section})
    content = json.loads((again / "representations" / "representations.json").read_text())
    assert content["by_layer"] == found["by_layer"]
    assert content["random"] == content["sets"] == {}


def test_the_guides_representation_is_looked_for_in_a_learned_set(run: Path, tmp_path: Path) -> None:
    content = {key: RECIPE[key] for key in ("source", "change", "seeds")} | {
        "pairs": {"train": 1, "validation": 1, "test": 1},
        "model": {"build": "cvae.SpatialCVAE", "latent": 2, "hidden": 8, "features": 4, "grid": 2},
        "fit": {"steps": 4, "batch": 16, "validate_every": 2},
        "sets": {"learned": {"build": "perturbsets.LatentBall"}},
        "trained": str(run),
        "representations": {**SECTION, "sets": ["learned"], "random": False, "guides": ["train"]},
    }
    content["representations"]["ascent"] = {"build": "perturbsets.APGD", "steps": 4}
    found = json.loads((carried_out(tmp_path, content) / "representations" / "representations.json").read_text())
    assert 0 < found["sets"]["learned"]["ratio"]["mean"] <= 1 + 1e-6


def test_a_network_without_training_will_do(tmp_path: Path) -> None:
    network = {"build": "perturbsets.SmallConvNet", "widths": [4, 8], "hidden": 16}
    section = {**SECTION, "network": network, "right": False, "sets": [], "random": False, "guides": ["validation"]}
    del section["classifier"]
    kept = {key: RECIPE[key] for key in ("source",)}
    run = carried_out(tmp_path, {**kept, "representations": section})
    content = json.loads((run / "representations" / "representations.json").read_text())
    assert content["network"] == "SmallConvNet"
    assert content["transfer"] == {}


def test_the_recipe_for_imagenet_runs_on_random_weights(tmp_path: Path, root: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    for split, count in (("train", 30), ("test", 6)):
        for name in ("bird", "boat"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = torch.randint(256, (3, 64, 64), generator=draw, dtype=torch.uint8)
                to_pil_image(image).save(folder / f"{number}.png")
    section = {"network.weights": "null", "right": False, "pairs": 2, "guides": ["train"], "steps": 2}
    section |= {"radii": [], "random": False, "shown": 1}
    small = {"output": tmp_path / "run", "source.root": tmp_path / "images", "source.size": [64, 64]}
    small |= {f"representations.{key}": value for key, value in section.items()}
    overrides = [f"{key}={value}" for key, value in small.items()]
    run = execute(read_recipe(root / "recipes" / "imagenet" / "features.yaml", overrides), "representations").path
    found = json.loads((run / "representations" / "representations.json").read_text())
    assert found["layers"][-1] == "network.classifier.5"
    assert found["network"] == "Published"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier": None}, "must have a trained classifier, or a network that needs no training, got neither"),
        ({"network": {"build": "perturbsets.SmallConvNet"}}, "got both"),
        ({"classifier": "planed"}, r"representations.classifier must be one of \['plain'\], got 'planed'"),
        ({"sets": ["spatail"]}, r"representations.sets.0 must be one of \['spatial'\], got 'spatail'"),
        ({"sets": [], "ascent": {"build": "perturbsets.APGD"}}, "ascent must come with representations.sets"),
        ({"layers": []}, "layers"),
        ({"layers": ["a", "a"]}, "names must differ"),
    ],
)
def test_sections_that_do_not_fit_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    content = {**RECIPE, "output": str(tmp_path / "run"), "representations": {**SECTION, **change}}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message):
        read_recipe(file)


def test_an_unknown_layer_is_told_with_its_nearest(run: Path, tmp_path: Path) -> None:
    content = {**RECIPE, "trained": str(run), "representations": {**SECTION, "layers": ["layer.1"]}}
    for key in ("classifier", "train", "classifiers"):
        del content[key]
    with pytest.raises(ValueError, match=r"layer\.1.*nearest.*layers\.1"):
        carried_out(tmp_path, content)
    assert not (tmp_path / "run" / "representations").exists()


def test_too_few_images_for_the_pairs_are_refused(run: Path, tmp_path: Path) -> None:
    content = {**RECIPE, "trained": str(run), "representations": {**SECTION, "pairs": 5000}}
    for key in ("classifier", "train", "classifiers"):
        del content[key]
    with pytest.raises(ValueError, match="count must be at most the number of pairs of different classes, got 5000"):
        carried_out(tmp_path, content)


def test_the_report_says_which_command_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "output": str(tmp_path / "run")}))
    execute(read_recipe(file), "report")
    assert "perturbsets representations" in (tmp_path / "run" / "report.html").read_text()


def test_guides_of_the_bank_leave_themselves_out(run: Path, found: dict[str, Any]) -> None:
    arrays = safetensors.torch.load_file(run / "representations" / "arrays.safetensors")
    for layer in found["layers"]:
        close = arrays[f"{layer}/drop/close"]
        assert bool((close < 0).all())  # 0 were the guide itself
        assert torch.equal(close.isfinite(), torch.ones_like(close, dtype=torch.bool))
