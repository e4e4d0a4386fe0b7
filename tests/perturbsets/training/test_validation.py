from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import LoopSettings
from perturbsets import (
    MART,
    AdversarialTraining,
    AdversarialWeightPerturbation,
    Adversary,
    CrossEntropy,
    FreeAdversarialTraining,
    GradientAlignment,
    Loss,
    Method,
    Objective,
    OneStep,
    PixelBall,
    ProjectedGradient,
    RobustValidation,
    StandardTraining,
    train_classifier,
)
from perturbsets.evaluation import correct_under

COUNT = 20
SETTINGS = LoopSettings(steps=12, batch=4, validate_every=2, learning_rate=0.01)
ATTACK = Adversary(PixelBall("linf", 0.1), ascent=ProjectedGradient(3))


class ScriptedLoss(Loss):
    def __init__(self, turned: Tensor) -> None:
        self.turned = turned

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        return offsets.sum(1), self.turned

    def select(self, rows: Tensor) -> Loss:
        return ScriptedLoss(self.turned[rows])


class Scripted(Objective):
    """Leaves the shares listed, one call after the other, standing, and takes down the weights it meets."""

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares, self.weights = shares, list[Tensor]()

    def __repr__(self) -> str:
        return f"Scripted({self.shares})"

    def at(self, model: nn.Module | None, images: Tensor, labels: Any) -> Loss:
        share = self.shares[len(self.weights)]
        self.weights.append(next(model.parameters()).detach().clone())
        return ScriptedLoss(torch.arange(len(images)) >= share * len(images))


def data(count: int = COUNT) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, 3, 3, generator=generator)
    return TensorDataset(images, (3 * images.mean((1, 2, 3))).long().clamp_max(2))


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def scripted(*shares: float, drop: float = 0.2) -> tuple[RobustValidation, list[Tensor]]:
    objective = Scripted(shares)
    adversary = Adversary(PixelBall("linf", 0.1), objective, OneStep())
    return RobustValidation(adversary, *data().tensors, drop=drop), objective.weights


def test_numbers_are_those_of_the_evaluation() -> None:
    images, labels = data().tensors
    model = classifier()
    train_classifier(model, data(), StandardTraining(), SETTINGS)
    record = RobustValidation(ATTACK, images, labels, batch=COUNT)(model.train())
    robust = [
        correct_under(model, ATTACK, images, labels, generator=torch.Generator().manual_seed(seed)) for seed in range(5)
    ]

    shares = [flags.double().mean().item() for flags in robust]
    assert min(shares) - 0.1 <= record["robust_accuracy"] <= max(shares) + 0.1
    assert record["clean_accuracy"] == pytest.approx(correct_under(model, None, images, labels).double().mean().item())
    assert record["score"] == 1 - record["robust_accuracy"]
    assert model.training
    assert model[2].num_batches_tracked == SETTINGS.steps


@pytest.mark.parametrize("batch", [1, 7, COUNT])
def test_every_call_gives_the_same_numbers(batch: int) -> None:
    model, validation = classifier(), RobustValidation(ATTACK, *data().tensors, batch=batch)
    first = validation(model)
    torch.rand(3)  # the global state plays no part

    assert validation(model) == first


def test_the_weights_of_the_best_robust_accuracy_are_kept() -> None:
    validation, weights = scripted(0.3, 0.5, 0.8, 0.7, 0.8, 0.75)
    model = classifier()
    records = train_classifier(model, data(), StandardTraining(), SETTINGS, validation=validation)

    assert [r["robust_accuracy"] for r in records if "score" in r] == [0.3, 0.5, 0.8, 0.7, 0.8, 0.75]
    assert_close(model[1].weight.detach(), weights[2], rtol=0, atol=0)  # of equal ones, the first
    assert not torch.equal(weights[2], weights[5])


def test_a_fall_ends_the_training_with_the_best_weights_and_starting_again_changes_nothing(tmp_path: Path) -> None:
    script = (0.3, 0.6, 0.45, 0.35, 0.9, 0.9)  # 0.25 below the best at the fourth
    validation, weights = scripted(*script)
    model, again = classifier(), classifier()
    records = train_classifier(model, data(), StandardTraining(), SETTINGS, validation=validation, folder=tmp_path)
    assert records[-1]["step"] == 8
    assert_close(model[1].weight.detach(), weights[1], rtol=0, atol=0)

    fresh, untouched = scripted(*script)
    repeated = train_classifier(again, data(), StandardTraining(), SETTINGS, validation=fresh, folder=tmp_path)
    assert repeated == records
    assert untouched == []
    assert len(weights) == 4
    assert_close(dict(again.named_parameters()), dict(model.named_parameters()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shares", "drop", "fallen"),
    [
        ([], 0.2, False),
        ([0.9], 0.2, False),
        ([0.9, 0.7], 0.2, False),  # as much, but not more
        ([0.9, 0.69], 0.2, True),
        ([0.9, 0.5, 0.8], 0.2, False),  # what counts is the last
        ([0.2, 0.0], 0.2, False),
        ([1.0, 0.0], 1.0, False),
        ([0.5, 0.49], 0.0, True),
    ],
)
def test_fall_is_measured_from_the_best(shares: list[float], drop: float, fallen: bool) -> None:
    records: list[dict[str, int | float]] = [{"step": 1, "loss": 0.3}]
    records += [{"step": 2, "robust_accuracy": share, "score": 1 - share} for share in shares]

    assert scripted(drop=drop)[0].fallen(records) is fallen


@pytest.mark.parametrize(
    "method",
    [
        AdversarialTraining(ATTACK),
        FreeAdversarialTraining(PixelBall("linf", 0.1), replays=3),
        AdversarialWeightPerturbation(GradientAlignment(MART(ATTACK), perturbations=PixelBall("linf", 0.1))),
    ],
)
def test_a_killed_training_with_validation_and_schedule_continues_to_the_same_weights(
    tmp_path: Path, method: Method
) -> None:
    ends, all_records = [], []
    for folder, kill in (("whole", None), ("cut", 7)):
        for stop in [kill, None] if kill else [None]:
            model, pairs = classifier(), data()
            if stop is not None:
                pairs = Killed(*pairs.tensors, calls=4 * stop)
            arguments: dict[str, Any] = {
                "validation": RobustValidation(ATTACK, *data().tensors, drop=1.0),
                "schedule": lambda optimizer: OneCycleLR(optimizer, max_lr=0.02, total_steps=12),
                "folder": tmp_path / folder,
            }
            if stop is None:
                all_records.append(train_classifier(model, pairs, method, SETTINGS, **arguments))
                ends.append(model.state_dict())
            else:
                with pytest.raises(KeyboardInterrupt):
                    train_classifier(model, pairs, method, SETTINGS, **arguments)

    assert all_records[0] == all_records[1]
    assert_close(ends[0], ends[1], rtol=0, atol=0)


class Killed(TensorDataset):
    """Ends the program after a number of items."""

    def __init__(self, *tensors: Tensor, calls: int) -> None:
        super().__init__(*tensors)
        self.calls = calls

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_another_validation_does_not_continue_a_training(tmp_path: Path) -> None:
    first = RobustValidation(ATTACK, *data().tensors)
    train_classifier(classifier(), data(), StandardTraining(), SETTINGS, validation=first, folder=tmp_path)
    others = [None, RobustValidation(ATTACK, *data().tensors, drop=0.3), RobustValidation(ATTACK, *data(19).tensors)]
    for other in others:
        with pytest.raises(ValueError, match="other settings"):
            train_classifier(classifier(), data(), StandardTraining(), SETTINGS, validation=other, folder=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": -0.1}, r"drop must be a difference of accuracies in \[0, 1\], got -0.1"),
        ({"drop": float("nan")}, "drop must be"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"images": torch.zeros(0, 3), "labels": torch.zeros(0, dtype=torch.long)}, "images must hold at least one"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels must be one whole class number per image, \[20\]"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    images, labels = data().tensors
    adversary = Adversary(PixelBall("linf", 0.1), CrossEntropy(), ProjectedGradient(2))
    with pytest.raises((ValueError, TypeError), match=message):
        RobustValidation(**{"adversary": adversary, "images": images, "labels": labels, **changes})
