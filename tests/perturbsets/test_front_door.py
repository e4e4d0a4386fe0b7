"""What newcomers write first: it works, or the error says what to write."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset, TensorDataset

import perturbsets
from augment import Digits, Patches
from perturbsets import (
    Adversary,
    CrossEntropy,
    PixelBall,
    ProjectedGradient,
    Worst,
    attacks,
    audit,
    bisect,
    evaluate,
    evaluate_robustness,
)
from perturbsets.certificates import Smoothed
from perturbsets.evaluation.data import whole
from perturbsets.guesses import OTHER_KEYWORDS, OTHER_NAMES

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
BALL = PixelBall("linf", 0.1)
QUICK: dict[str, Any] = {"steps": 2, "queries": 2}


@pytest.fixture(autouse=True)
def _users_have_no_checks_of_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def data(count: int = 12) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 4, 4), torch.arange(count) % 3


def doors() -> dict[str, Callable[[Any, Any, Any], Any]]:
    """Calls with a model, images and labels."""
    attack = attacks.fgsm()
    return {
        "adversary": attack,
        "worst": Worst([attack]),
        "bisect": lambda *given: bisect(attack, *given, largest=0.1),
        "fmn": attacks.fmn(),
        "audit": lambda *given: audit(attack, *given),
        "evaluate": lambda model, x, y: evaluate({"m": model}, {"clean": None}, x, y),
        "robustness": lambda *given: evaluate_robustness(*given, BALL, **QUICK),
        "smoothed": lambda model, x, y: Smoothed(model, PixelBall("l2", 0.1), 0.1).certify(x, y),
    }


@pytest.mark.parametrize("door", doors())
def test_wrong_images_and_models_are_named_with_what_to_write(door: str) -> None:
    call, (x, y) = doors()[door], data()
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    for given, words in {
        "images must be a torch tensor, got a NumPy array: write torch.from_numpy(images)": (MODEL, x.numpy(), y),
        "images must be a torch tensor, got a list: write torch.stack(images)": (MODEL, list(x), y),
        "images must be a torch tensor, got a DataLoader: take one batch": (MODEL, loader, y),
        "got Tensor: the order is (model, images, labels)": (x, x, y),
    }.items():
        with pytest.raises(TypeError, match=re.escape(given)):
            call(*words)


def test_a_function_is_a_model() -> None:
    weights, (x, y) = torch.rand(16, 3), data()
    made = attacks.pgd(radius=0.1)(lambda images: images.flatten(1) @ weights, x, y)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    linear[1].weight.data = weights.T
    assert torch.equal(made.success, attacks.pgd(radius=0.1)(linear, x, y).success)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("linf",), "perturbations must be such as PixelBall(\"linf\", 8 / 255), got 'linf'"),
        ((PixelBall,), "perturbations must be such as .* got the class PixelBall"),
        ((BALL, CrossEntropy), "objective must be such as CrossEntropy(), got the class CrossEntropy"),
        ((BALL, ProjectedGradient(3)), "objective must be .* got ProjectedGradient(steps=3)"),
        ((BALL, CrossEntropy(), "pgd"), "ascent must be such as ProjectedGradient(20), got 'pgd'"),
    ],
)
def test_parts_of_an_adversary_that_are_none_are_named(parts: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message).replace(r"\.\*", ".*")):
        Adversary(*parts)


@pytest.mark.parametrize(
    ("name", "ours"),
    {
        "PGD": "attacks.pgd",
        "pgd": "attacks.pgd",
        "AutoAttack": "attacks.autoattack",
        "CW": "attacks.carlini_wagner",
        "Pixelball": "PixelBall",
        "SmoothedMaps": "certificates.SmoothedMaps",
        "evalute": "evaluate",
    }.items(),
)
def test_guessed_names_lead_to_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=f"perturbsets has no {name}: did you mean perturbsets.{ours}$"):
        getattr(perturbsets, name)
    package, _, inner = ours.rpartition(".")
    assert hasattr(__import__(f"perturbsets.{package}", fromlist=[inner]) if package else perturbsets, inner)


def test_names_like_nothing_are_refused_and_modules_are_no_guesses() -> None:
    with pytest.raises(AttributeError, match=r"perturbsets has no zzzz: help\(perturbsets\)"):
        _ = perturbsets.zzzz
    from perturbsets import cli, evaluation

    assert cli.app is not None
    assert evaluation.Check is not None
    for ours in OTHER_NAMES.values():
        assert hasattr(attacks, ours)


@pytest.mark.parametrize("ours", OTHER_KEYWORDS)
def test_keywords_of_other_libraries_lead_to_ours(ours: str) -> None:
    attack: Any = attacks.square if ours == "queries" else attacks.pgd
    for other in OTHER_KEYWORDS[ours]:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{other}': did you mean {ours}=$"):
            attack(**{other: 1})


def test_attacks_answer_arguments_without_a_name() -> None:
    wrong: Any = attacks.pgd
    with pytest.raises(TypeError, match="did you mean radius="):
        wrong(MODEL, eps=0.1)
    with pytest.raises(TypeError, match=r"it makes an attack, which is then called with \(model, images, labels\)"):
        wrong(MODEL)
    with pytest.raises(TypeError, match=r"it takes norm, radius, .*, by keyword"):
        wrong(0.1)
    with pytest.raises(TypeError, match="did you mean steps="):
        wrong(step=3)


@pytest.mark.parametrize(("norm", "largest"), [("linf", 1.0), ("l2", 28.0), ("l1", 784.0)])
def test_radii_in_grey_levels_are_warned_of(norm: Any, largest: float) -> None:
    x = torch.rand(3, 1, 28, 28)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for radius in (largest, float("inf"), torch.full((3,), 2 * largest)):  # each: of a search
            PixelBall(norm, radius).at(x)
        PixelBall(norm, 8 * largest, bounds=(-float("inf"), float("inf"))).at(x)
        PixelBall(norm, 255 * largest, bounds=(0.0, 255.0)).at(255 * x)
        PixelBall("l2", 5.0).at(torch.rand(3, 1, 2, 2))  # what has few values is no image in grey levels
    with pytest.warns(UserWarning, match=rf"radius {2 * largest:g} .* {norm}: .* Did you mean {2 * largest:g}/255\?"):
        PixelBall(norm, 2 * largest).at(x)


def test_an_attack_of_radius_8_is_warned_of_when_it_is_made() -> None:
    with pytest.warns(UserWarning, match="Did you mean 8/255"):
        attacks.pgd(radius=8)


# All data at once.


class Rows(Dataset[dict[str, Any]]):
    """Mappings, as a table of Hugging Face gives them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"img": self.images[index], "fine": int(self.labels[index]), "name": "a"}


def forms(x: Tensor, y: Tensor) -> Iterator[tuple[Any, dict[str, Any]]]:
    yield TensorDataset(x, y), {}
    yield DataLoader(TensorDataset(x, y), batch_size=5), {}
    yield DataLoader(TensorDataset(x, y, torch.arange(len(x))), batch_size=5), {}
    yield Rows(x, y), {"fields": ("img", "fine")}
    yield DataLoader(Rows(x, y), batch_size=5), {"fields": ("img", "fine")}
    yield list(zip(x, y.tolist(), strict=True)), {}


def test_data_sets_and_loaders_give_the_figures_of_their_tensors() -> None:
    x, y = data()
    expected = evaluate_robustness(MODEL, x, y, BALL, **QUICK)
    clean = evaluate({"m": MODEL}, {"clean": None, "fgsm": attacks.fgsm()}, x, y)
    for form, options in forms(x, y):
        assert evaluate_robustness(MODEL, form, BALL, **QUICK, **options) == expected
        assert evaluate_robustness(MODEL, form, sets=BALL, **QUICK, **options) == expected
        assert evaluate({"m": [MODEL]}, {"clean": None, "fgsm": attacks.fgsm()}, form, **options) == clean
    assert attacks.autoattack(radius=0.1, **QUICK)(MODEL, TensorDataset(x, y)) == replace(expected)


def test_bytes_are_scaled_and_groups_of_a_source_are_used() -> None:
    x = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
    images, labels, groups = whole(MODEL, TensorDataset(x, torch.arange(6)), None)
    assert_close(images, x / 255)
    assert torch.equal(labels, torch.arange(6))
    assert groups is None
    assert whole(MODEL, Digits("test"), None)[0].shape == (len(Digits("test")), 1, 28, 28)
    source = Patches("test")
    assert torch.equal(whole(MODEL, source, None)[2], torch.as_tensor(source.groups))


def test_data_without_labels_sets_or_items_are_refused() -> None:
    x, y = data()
    wrong: Any = evaluate_robustness
    with pytest.raises(TypeError, match=r"sets must be .* got Tensor: write \(model, images, labels, sets\)"):
        wrong(MODEL, x, y)
    with pytest.raises(ValueError, match="images must come with labels"):
        wrong(MODEL, TensorDataset(x), BALL)
    with pytest.raises(ValueError, match="images must hold at least one"):
        wrong(MODEL, [], BALL)
    with pytest.raises(ValueError, match="got an empty data loader"):
        wrong(MODEL, DataLoader(TensorDataset(x, y), batch_size=20, drop_last=True), BALL)
    with pytest.raises(ValueError, match="labels must be numbers"):
        wrong(MODEL, x, sets=BALL)
