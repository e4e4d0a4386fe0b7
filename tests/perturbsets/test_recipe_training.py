"""What recipes say about training: methods, schedules, validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cvae.training import tabulate
from perturbsets import (
    TRADES,
    AdversarialTraining,
    AdversarialWeightPerturbation,
    Adversary,
    FeatureAdversarialTraining,
    FeatureDistance,
    FreeAdversarialTraining,
    GradientAlignment,
    KLDivergence,
    OneStep,
    PixelBall,
    ProjectedGradient,
)
from perturbsets.recipe import Recipe, assembly, read_recipe

BALL = PixelBall("linf", 0.1)
STEP = "{build: perturbsets.OneStep, starts: uniform}"
SMALL: dict[str, Any] = {
    "output": "runs/small",
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange"},
    "model": {"build": "cvae.SpatialCVAE"},
    "sets": {"pixels": {"build": "perturbsets.PixelBall", "norm": "linf", "radius": 0.1}},
    "classifier": {"build": "perturbsets.SmallConvNet"},
    "train": {"steps": 40, "learning_rate": 0.01},
    "classifiers": {"plain": {"build": "perturbsets.StandardTraining"}},
    "adversaries": {"step": {"set": "pixels", "ascent": {"build": "perturbsets.OneStep"}}},
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL))
    return file


def method(small: Path, text: str) -> Any:
    return assembly.method(read_recipe(small, [f"classifiers.plain={text}"]).classifiers["plain"], {"pixels": BALL})


def test_trades_names_set_and_ascent_alone(small: Path) -> None:
    built = method(
        small,
        "{build: perturbsets.TRADES, beta: 3, set: pixels, ascent: {build: perturbsets.ProjectedGradient, steps: 4}}",
    )

    assert isinstance(built, TRADES)
    assert built.beta == 3
    assert built.adversary.objective == KLDivergence()
    assert built.adversary.ascent == ProjectedGradient(4)
    assert built.adversary.perturbations is BALL


def test_free_training_names_its_set(small: Path) -> None:
    assert method(
        small, "{build: perturbsets.FreeAdversarialTraining, set: pixels, replays: 4}"
    ) == FreeAdversarialTraining(BALL, replays=4)


def test_feature_adversarial_training_names_its_layers(small: Path) -> None:
    text = (
        f"{{build: perturbsets.FeatureAdversarialTraining, weight: 0.5, set: pixels, ascent: {STEP}, layers: LAYERS}}"
    )
    one = method(small, text.replace("LAYERS", "layers.8"))
    several = method(small, text.replace("LAYERS", '["layers.8", "layers.*"], activation: none'))

    assert one == FeatureAdversarialTraining(
        Adversary(BALL, FeatureDistance("layers.8"), OneStep(starts="uniform")), weight=0.5
    )
    assert several.adversary.objective == FeatureDistance(["layers.8", "layers.*"], activation="none")


def test_add_ons_hold_methods(small: Path) -> None:
    inner = f"{{build: perturbsets.AdversarialTraining, set: pixels, ascent: {STEP}}}"
    aligned = f"{{build: perturbsets.GradientAlignment, weight: 0.5, set: pixels, method: {inner}}}"
    built = method(small, f"{{build: perturbsets.AdversarialWeightPerturbation, gamma: 0.01, method: {aligned}}}")

    assert isinstance(built, AdversarialWeightPerturbation)
    assert isinstance(built.method, GradientAlignment)
    assert isinstance(built.method.method, AdversarialTraining)
    assert (built.gamma, built.method.weight, built.method.perturbations) == (0.01, 0.5, BALL)


@pytest.mark.parametrize(
    ("override", "place", "reason"),
    [
        (
            "classifiers.plain={build: perturbsets.TRADES, set: pixels, ascent: {build: perturbsets.OneStep}}",
            "classifiers.plain",
            "must not start at zero, where the divergence has no gradient, got OneStep: give an ascent with starts",
        ),
        (
            f"classifiers.plain={{build: perturbsets.TRADES, beta: -1, set: pixels, ascent: {STEP}}}",
            "classifiers.plain",
            "beta must be a finite number of 0 or more, got -1",
        ),
        (
            "classifiers.plain={build: perturbsets.AdversarialWeightPerturbation, gamma: 0, "
            "method: {build: perturbsets.StandardTraining}}",
            "classifiers.plain",
            "gamma must be a finite number above 0, got 0",
        ),
        (
            "classifiers.plain={build: perturbsets.AdversarialWeightPerturbation, method: "
            "{build: perturbsets.FreeAdversarialTraining, set: pixels}}",
            "classifiers.plain.method",
            "does not match any of the expected tags",
        ),
        (
            "classifiers.plain={build: perturbsets.AdversarialWeightPerturbation, method: "
            "{build: perturbsets.AugmentedTraining, set: nosuch}}",
            "recipe",
            "classifiers.plain.method.set must be one of ['pixels'], got 'nosuch'",
        ),
        (
            "classifiers.plain={build: perturbsets.NoiseAugmentedTraining, set: pixels, sigma: [0.5, 0]}",
            "classifiers.plain",
            "sigma must be above 0 and finite, the noise's standard deviation, got (0.5, 0.0)",
        ),
        (
            "classifiers.plain={build: perturbsets.FreeAdversarialTraining, set: pixels, replays: 0}",
            "classifiers.plain",
            "replays must be at least 1, got 0",
        ),
        (
            f"classifiers.plain={{build: perturbsets.FeatureAdversarialTraining, set: pixels, ascent: {STEP}}}",
            "classifiers.plain.layers",
            "Field required",
        ),
        (
            "classifiers.plain={build: perturbsets.FeatureAdversarialTraining, weight: -1, set: pixels, "
            "layers: layers.8, "
            f"ascent: {STEP}}}",
            "classifiers.plain",
            "weight must be a finite number of 0 or more, got -1",
        ),
        (f"validation={{set: nosuch, ascent: {STEP}}}", "recipe", "validation.set must be one of ['pixels']"),
        (f"validation={{set: pixels, ascent: {STEP}, drop: 2}}", "validation.drop", "less than or equal to 1"),
        (f"validation={{set: pixels, ascent: {STEP}, images: 0}}", "validation.images", "greater than or equal to 1"),
        (
            "schedule={build: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1, total_steps: 10}",
            "schedule",
            "schedule must last for 40 steps, got a OneCycleLR that ends before step 12",
        ),
        (
            "schedule={build: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1, pct_start: 3}",
            "schedule",
            "pct_start",
        ),
        ("schedule={build: torch.optim.lr_scheduler.LambdaLR}", "schedule", "does not match any of the expected tags"),
        (
            "schedule={build: torch.optim.lr_scheduler.StepLR, step_size: 3, last_epoch: 4}",
            "schedule.last_epoch",
            "unknown key",
        ),
    ],
)
def test_faults_are_told_before_any_work(small: Path, override: str, place: str, reason: str) -> None:
    with pytest.raises(ValueError, match="has 1 fault:") as caught:
        read_recipe(small, [override])

    told = str(caught.value).splitlines()[1].strip()
    assert told.startswith(f"{place}: ")
    assert reason in told


@pytest.mark.parametrize(
    "text",
    [
        "{build: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.02}",
        "{build: torch.optim.lr_scheduler.CosineAnnealingLR, eta_min: 0.001}",
        "{build: torch.optim.lr_scheduler.MultiStepLR, milestones: [10, 20]}",
        "{build: torch.optim.lr_scheduler.StepLR, step_size: 10}",
        "{build: torch.optim.lr_scheduler.ExponentialLR, gamma: 0.9}",
    ],
)
def test_schedules_last_for_the_training_and_survive_the_run_folder(small: Path, text: str, tmp_path: Path) -> None:
    recipe = read_recipe(small, [f"schedule={text}"])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.resolved()))
    rates = [options["lr"] for options in tabulate(assembly.schedule(recipe.schedule, 40), 40, 0.01)]

    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    assert len(rates) == 40
    assert rates[-1] < rates[0]
    if "Cosine" in text:  # its lowest rate is one step behind the last
        assert rates[-1] == pytest.approx(0.001 + 0.009 * (1 + torch.tensor(torch.pi * 39 / 40).cos().item()) / 2)


def test_without_a_word_there_is_neither_schedule_nor_validation(small: Path) -> None:
    recipe: Recipe = read_recipe(small)

    assert recipe.schedule is None
    assert recipe.validation is None
