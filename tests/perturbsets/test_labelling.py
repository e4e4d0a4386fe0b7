"""Recipes with labels: the auxiliary classifier is trained, others learn from it, its labels are attacked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from augment import SegmentDigits
from cvae import Pretrained
from perturbsets.evaluation import correct_under
from perturbsets.models import DualConvNet
from perturbsets.recipe import read_recipe
from perturbsets.report import write_report
from perturbsets.runs import execute
from tests.augment.faces import write_faces

STEP = {"build": "perturbsets.OneStep"}
CLIMB = {"build": "perturbsets.ProjectedGradient", "steps": 10}
EASY = {
    "build": "augment.SegmentDigits",
    "size": 16,
    "digit": 12,
    "rotation": 5,
    "scale": [0.95, 1.05],
    "shift": 0.03,
}
RECIPE: dict[str, Any] = {
    "source": EASY,
    "sets": {"pixels": {"build": "perturbsets.PixelBall", "norm": "linf", "radius": 0.1}},
    "auxiliary": {"rules": "segments"},
    "classifier": {"build": "perturbsets.SmallConvNet", "widths": [8, 16], "hidden": 32},
    "train": {"steps": 120, "batch": 64, "learning_rate": 0.01},
    "seeds": [0, 1],
    "classifiers": {
        "plain": {"build": "perturbsets.StandardTraining"},
        "control": {"build": "perturbsets.AdversarialTraining", "set": "pixels", "ascent": STEP},
        "frozen": {"build": "perturbsets.multi_label.DualS1", "set": "pixels", "ascent": STEP},
        "apart": {
            "build": "perturbsets.multi_label.DualS2",
            "set": "pixels",
            "ascent": STEP,
            "auxiliary_network": "updated",
            "combine": "added",
            "own": {"set": "pixels", "ascent": {**CLIMB, "steps": 2}},
        },
        "shared": {
            "build": "perturbsets.multi_label.DualS2",
            "set": "pixels",
            "ascent": STEP,
            "auxiliary_network": "shared",
            "rules_weight": 0.5,
        },
    },
    "adversaries": {"pgd": {"set": "pixels", "ascent": CLIMB}},
    "evaluate": {
        "images": 60,
        "control": "control",
        "audit": {"images": 8, "draws": 2},
        "robustness": {"sets": ["pixels"], "images": 20, "steps": 2, "queries": 5, "targets": 1},
    },
    "labels": {
        "images": 40,
        "attacks": {
            "any": {"set": "pixels", "ascent": CLIMB},
            "hide": {
                "set": "pixels",
                "objective": {"build": "perturbsets.multi_label.BinaryCrossEntropy", "targeted": True},
                "ascent": CLIMB,
                "hide": ["g"],
            },
            "ranked": {
                "set": "pixels",
                "objective": {"build": "perturbsets.multi_label.TopK", "k": 3},
                "ascent": CLIMB,
            },
        },
        "least": {"hide": ["a"], "images": 4},
        "universal": {"one": {"set": "pixels", "images": 128, "epochs": 2}},
        "detector": {"classifiers": ["plain"], "adversaries": ["pgd"]},
        "shown": 3,
    },
}


def carried_out(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**content, "output": str(folder / "run")}))
    return execute(read_recipe(file)).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(tmp_path_factory.mktemp("labels"), RECIPE)


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "labels" / "labels.json").read_text())
    return content


def test_the_auxiliary_classifier_predicts_labels_better_than_their_frequency(run: Path) -> None:
    scores = json.loads((run / "auxiliary" / "scores.json").read_text())

    assert [entry["seed"] for entry in scores["seeds"]] == [0, 1]
    for entry in scores["seeds"]:
        for label in entry["labels"][:7]:
            assert label["average_precision"] > label["on"] / (label["on"] + label["off"])
    assert scores["seeds"][0] != scores["seeds"][1]


def test_an_auxiliary_classifier_that_learns_along_is_saved_with_its_classifier(run: Path) -> None:
    apart, shared = (Pretrained.from_pretrained(run / "classifiers" / name / "0") for name in ("apart", "shared"))

    assert isinstance(apart, DualConvNet)
    assert isinstance(shared, DualConvNet)
    assert (apart.shared, shared.shared) == (False, True)
    digits = SegmentDigits("test", size=16, digit=12, rotation=5.0, scale=(0.95, 1.05), shift=0.03)
    images, labels = digits.batch(range(100))
    assert correct_under(shared, None, images, labels).float().mean() > 0.3


def test_costs_count_the_gradients_of_both(run: Path) -> None:
    costs = json.loads((run / "classifiers" / "costs.json").read_text())["costs"]
    spent = {name: (cost["classifier_backward"], cost["auxiliary_backward"]) for name, cost in costs.items()}

    assert spent["plain"] == (1, 0)
    assert spent["control"] == (2, 0)
    assert spent["frozen"] == (2, 1)  # clean and changed images; one step against the auxiliary classifier
    assert spent["apart"] == (3, 2)  # two steps against the one, one against the other, one example, a clean image


def test_an_attack_that_hides_a_label_gets_the_images_that_show_it(run: Path, found: dict[str, Any]) -> None:
    entry, whole = found["attacks"]["hide"], found["attacks"]["any"]

    assert whole["images"] == round(40 * found["scores"]["exact_match"]["mean"])  # the others are wrong already
    assert 0 < entry["images"] < 40
    assert entry["asked"] == {"hide": ["g"], "show": []}
    assert entry["objective"] == "BinaryCrossEntropy(targeted=True)"
    assert entry["targeted"]["asked"] == entry["images"]
    assert entry["flips"]["labels"][found["labels"].index("g")]["turned_on"] is None
    assert whole["targeted"] is None
    assert whole["norms"]["linf"] <= 0.1 + 1e-6
    assert whole["scores"]["mean_average_precision"] < found["scores"]["mean_average_precision"]
    arrays = load_file(run / "labels" / "arrays.safetensors")
    assert bool(arrays["hide/before"][:, found["labels"].index("g")].all())
    assert len(arrays["any/clean"]) == 3


def test_images_that_cannot_be_attacked_are_left_out(found: dict[str, Any]) -> None:
    assert found["attacks"]["ranked"]["images"] < 40
    assert found["attacks"]["ranked"]["success_at_k"]["mean"] == pytest.approx(
        found["attacks"]["ranked"]["success"]["mean"]
    )


def test_least_changes_leave_other_labels_alone(found: dict[str, Any]) -> None:
    assert set(found["least"]) == {"deepfool", "linear-programme-linf", "linear-programme-l1"}
    for entry in found["least"].values():
        if entry["success"]["mean"] == 1:
            assert entry["targeted"]["collateral"]["mean"] == 0
    assert found["least"]["linear-programme-linf"]["norms"]["linf"] < found["least"]["deepfool"]["norms"]["linf"]


def test_an_attacker_who_knows_the_rules_gets_through_more_often(found: dict[str, Any]) -> None:
    detected = found["detector"]["classifiers"]["plain"]
    plain, adaptive = (detected["adversaries"]["pgd"][kind] for kind in ("plain", "adaptive"))

    assert 0 <= detected["threshold"] <= 1
    assert adaptive["fooled"]["mean"] >= plain["fooled"]["mean"]
    assert adaptive["fooled_and_accepted"]["mean"] >= plain["fooled_and_accepted"]["mean"]
    assert adaptive["area"]["mean"] <= plain["area"]["mean"] + 1e-9


def test_classifiers_are_compared_image_by_image(run: Path) -> None:
    table = json.loads((run / "evaluation" / "evaluation.json").read_text())
    ensemble = json.loads((run / "evaluation" / "robustness.json").read_text())

    assert table["differences"]["control"] == "control"
    for row, cells in table["differences"]["rows"].items():
        for column, cell in cells.items():
            apart = table["accuracy"][row][column]["mean"] - table["accuracy"]["control"][column]["mean"]
            assert cell["mean"] == pytest.approx(apart)
            assert cell["low"] <= cell["mean"] <= cell["high"]
    assert set(ensemble["pooled"]) == set(RECIPE["classifiers"])
    for row, cell in ensemble["pooled"].items():
        assert cell["mean"] == pytest.approx(sum(one["accuracy"]["mean"] for one in ensemble["rows"][row]) / 2)


def test_the_report_shows_schemes_flips_and_the_detector(run: Path) -> None:
    page = write_report(run).read_text()

    for section in ("auxiliary", "schemes", "labels", "detector"):
        assert f'<section id="{section}">' in page
    for words in ("Against control", "hide g", "adaptive", "linear-programme-l1"):
        assert words in page
    for picture in ("labels-any", "labels-turned-off", "detector-plain"):
        assert (run / "figures" / f"{picture}.png").stat().st_size > 1000


def test_another_run_evaluates_the_same_auxiliary_classifier(run: Path, tmp_path: Path) -> None:
    content = {
        key: value for key, value in RECIPE.items() if key not in ("auxiliary", "classifiers", "classifier", "train")
    }
    labels = {"images": 10, "detector": {"classifiers": ["plain"], "adversaries": ["pgd"], "weights": [0.3]}}
    taken = carried_out(
        tmp_path, {**content, "trained": str(run), "evaluate": {"images": 10, "audit": {"images": 4}}, "labels": labels}
    )

    again = json.loads((taken / "labels" / "labels.json").read_text())
    assert again["detector"]["classifiers"]["plain"]["threshold"] > 0


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("evaluate.control=lost", "evaluate.control must be one of ['apart', 'control', 'frozen', 'plain', 'shared']"),
        ("labels.detector.classifiers=[lost]", "labels.detector.classifiers.0 must be one of"),
    ],
)
def test_classifiers_of_another_run_are_known_by_name(run: Path, tmp_path: Path, override: str, reason: str) -> None:
    file = tmp_path / "recipe.yaml"
    labels = {"detector": {"classifiers": ["plain"], "adversaries": ["pgd"]}}
    content = {key: RECIPE[key] for key in ("source", "sets", "adversaries")}
    file.write_text(yaml.safe_dump({**content, "trained": str(run), "labels": labels, "output": str(tmp_path / "run")}))

    with pytest.raises(ValueError, match=r".") as caught:
        execute(read_recipe(file, [override]))
    assert reason in str(caught.value)


def test_faces_of_ones_own(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", persons=6, each=8, size=16)
    recipe = Path("recipes/faces/au.yaml")
    overrides = [
        f"output={tmp_path / 'run'}",
        f"source.path={tmp_path / 'faces' / 'manifest.csv'}",
        "source.size=[16, 16]",
        "classifier.widths=[4, 8]",
        "train={steps: 3, batch: 8}",
        "adversaries.pgd.ascent={build: perturbsets.OneStep}",
        "evaluate={images: 4, audit: {images: 2, draws: 2}}",
        "labels.attacks.any-label.ascent={build: perturbsets.OneStep}",
        "labels.attacks.hide-smile.ascent={build: perturbsets.OneStep}",
        "labels.detector.weights=[0.3]",
    ]

    done = execute(read_recipe(recipe, overrides)).path
    content = json.loads((done / "labels" / "labels.json").read_text())
    assert content["classes"] == ["Angry", "Contempt", "Disgust", "Fear", "Happy", "Sad", "Surprise"]
    assert "AU12" in content["labels"]


def faulty(tmp_path: Path, *overrides: str) -> str:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**copy.deepcopy(RECIPE), "output": str(tmp_path / "run")}))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        execute(read_recipe(file, overrides))
    assert not (tmp_path / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        (
            "source={build: augment.Digits}",
            "auxiliary must come with a source whose labels have states, one of augment",
        ),
        (
            "auxiliary=null",
            "classifiers.frozen must come with an auxiliary classifier, got none: give one, "
            "or auxiliary_network: updated",
        ),
        (
            "auxiliary=null",
            "labels must come with an auxiliary classifier, trained here or in the run `trained`, got none",
        ),
        ("auxiliary={}", "labels.detector must come with rules of the auxiliary"),
        ("auxiliary={}", "classifiers.shared.rules_weight must come with rules of the auxiliary"),
        (
            "auxiliary.adversary={set: lost, ascent: {build: perturbsets.OneStep}}",
            "auxiliary.adversary.set must be one of",
        ),
        ("auxiliary.adversary={set: pixels, ascent: {build: perturbsets.OneStep}, objective: {build: x}}", "objective"),
        (
            "classifiers.apart.own={set: lost, ascent: {build: perturbsets.OneStep}}",
            "classifiers.apart.own.set must be one of ['pixels'], got 'lost'",
        ),
        ("labels.attacks.any.set=lost", "labels.attacks.any.set must be one of ['pixels'], got 'lost'"),
        ("labels.universal.one.set=lost", "labels.universal.one.set must be one of ['pixels'], got 'lost'"),
        ("labels.attacks.any.hide=[a]", "hide or show must come with an objective that is targeted"),
        ("labels.attacks.hide.hide=[]", "got a targeted objective without labels"),
        ("labels.least.hide=[]", "hide or show must name at least one label, got none"),
        ("labels.least.hide=[a, a]", "names must differ"),
        ("labels.detector.classifiers=[lost]", "labels.detector.classifiers.0 must be one of"),
        ("labels.detector.adversaries=[lost]", "labels.detector.adversaries.0 must be one of ['pgd'], got 'lost'"),
        ("classifiers.frozen.auxiliary_adversarial=true", "must be false where auxiliary_network is frozen"),
        ("classifiers.frozen.weight=1.5", "weight must be a share in [0, 1], got 1.5"),
        (
            "classifier={build: perturbsets.Published, name: resnet18}",
            "classifiers.apart.auxiliary_network must be frozen with the classifier perturbsets.Published",
        ),
        ("evaluate.control=lost", "evaluate.control must be one of"),
        ("auxiliary.rules=ck+", "class Angry: it has a rule, but the data lack it"),
        ("auxiliary.rules=lost.yaml", "rules must be a YAML file"),
        ("labels.least.show=[z]", "labels.least.show: 'z' is none of a, b, c"),
        ("labels.least.show=[a]", "labels.least: a cannot be hidden and shown"),
        ("source.classed=false", "classed"),
        (
            "labels.attacks.ranked.objective.k=11",
            "labels.attacks.ranked.objective: k must be below the number of labels",
        ),
        (
            "classifiers.frozen.objective={build: perturbsets.multi_label.BinaryCrossEntropy, weights: [1, 2]}",
            "classifiers.frozen.objective: weights must be",
        ),
        (
            "classifiers.frozen.objective={build: perturbsets.multi_label.LabelMargin, targeted: true}",
            "objective must not be targeted here",
        ),
        (
            "labels.universal.one.objective={build: perturbsets.multi_label.LabelMargin, targeted: true}",
            "must not be targeted here",
        ),
        ("labels.detector.classifiers=[plain, plain]", "names must differ"),
        ("labels.top=11", "labels.top: must be below the number of labels, 11, got 11"),
    ],
)
def test_faults_are_reported_before_any_work(tmp_path: Path, override: str, reason: str) -> None:
    assert reason in faulty(tmp_path, override)


def test_auxiliary_classifiers_differ_by_seed_alone(run: Path) -> None:
    first, second = (load_file(run / "auxiliary" / seed / "model.safetensors") for seed in ("0", "1"))
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
