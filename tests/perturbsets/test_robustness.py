"""The fixed ensemble: what it breaks, what it counts, and that it survives a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import ComposedSet, LatentBall, PixelBall, Robustness, SpatialBox, evaluate_robustness, share_interval
from perturbsets.evaluation.robustness import MISCLASSIFIED, ROBUST, ensemble


def classifier(classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.Tanh(), nn.Dropout(), nn.Linear(24, classes))


def data(count: int = 30, classes: int = 5) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 6, 6), torch.arange(count) % classes


def learned_labels(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """What the model predicts, but for the first three images."""
    predicted = model.eval()(x).argmax(1)
    model.train()
    return torch.where(torch.arange(len(x)) < 3, (predicted + 1) % 5, predicted)


SMALL: dict[str, Any] = {"steps": 6, "queries": 12, "targets": 3}


def test_every_flag_is_a_prediction_on_the_image_returned() -> None:
    model, (x, y) = classifier(), data()
    y = learned_labels(model, x, y)
    result = evaluate_robustness(model, x, y, PixelBall("linf", 0.05), batch=8, **SMALL)

    assert all(module.training for module in model.modules())
    wrong = model.eval()(result.images).argmax(1) != y
    assert_close(wrong, result.broken_by != ROBUST)
    assert result.broken_by[:3].tolist() == [MISCLASSIFIED] * 3
    assert_close(result.images[:3], x[:3], rtol=0, atol=0)
    assert (result.images - x).abs().max() <= 0.05 + 1e-6
    assert result.members == ("linf: apgd-ce", "linf: apgd-dlr-t", "linf: square")
    assert result.clean == share_interval(torch.arange(30) < 27)
    assert result.accuracy == share_interval(~wrong)
    assert sum(result.broken.values()) + 3 == int(wrong.sum())
    assert 0 < result.accuracy.mean < result.clean.mean


def test_each_member_attacks_only_what_is_still_robust() -> None:
    class Counting(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.seen = inner, 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            return self.inner(x)

    inner, (x, y) = classifier(), data()
    model = Counting(inner)
    y = learned_labels(inner, x, y)
    result = evaluate_robustness(model, x, y, PixelBall("linf", 0.05), **SMALL)

    assert (result.calls[result.broken_by == MISCLASSIFIED] == 1).all()
    robust = result.calls[result.broken_by == ROBUST]
    # The clean pass; APGD; for each of 3 targets the clean logits and APGD; Square with its start.
    assert (robust == robust[0]).all()
    assert robust[0] >= 1 + 7 + 3 * 7 + 12
    assert int(result.calls.sum()) <= model.seen <= int(result.calls.sum()) + 3 * len(x) + 1


def test_several_sets_of_any_kind_are_tried_together(linear_cvae: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    x = 0.4 + 0.2 * torch.rand(12, 1, 2, 3)
    y = model(x).argmax(1)
    sets = {
        "learned": LatentBall(linear_cvae(), 1.0),
        "turns": SpatialBox(),
        "both": ComposedSet([SpatialBox(), PixelBall("l2", torch.full((12,), 0.1))]),
        "pixels": PixelBall("l2", torch.linspace(0.01, 0.2, 12)),
    }
    result = evaluate_robustness(model, x, y, sets, batch=5, **SMALL)

    assert result.members[:4] == tuple(f"{name}: apgd-ce" for name in sets)
    assert result.members[-4:] == ("learned: random", "turns: random", "both: random", "pixels: square")
    alone = [evaluate_robustness(model, x, y, {name: chosen}, batch=5, **SMALL) for name, chosen in sets.items()]
    # Random starts differ between the two, which may decide one image of twelve.
    assert result.accuracy.mean <= min(single.accuracy.mean for single in alone) + 1 / 12 + 1e-9


@pytest.mark.parametrize(
    ("classes", "kind", "targets"), [(2, "margin", 1), (3, "margin", 2), (4, "dlr", 3), (12, "dlr", 9)]
)
def test_the_ensemble_fits_the_number_of_classes(classes: int, kind: str, targets: int) -> None:
    members = ensemble({"set": PixelBall("linf", 0.1)}, torch.rand(4, 1, 6, 6), classes)

    names = [member.name for member in members]
    assert names == ["set: apgd-ce", *[f"set: apgd-{kind}-t"] * targets, "set: square"]


class KilledError(Exception):
    """The end, in the middle of an attack."""


def test_a_killed_evaluation_continues_to_the_same_result(tmp_path: Path) -> None:
    model, (x, y) = classifier(), data()
    y = learned_labels(model, x, y)
    settings: dict[str, Any] = {
        "sets": PixelBall("linf", 0.03),
        "batch": 7,
        "generator": torch.Generator().manual_seed(3),
        **SMALL,
    }
    whole = evaluate_robustness(model, x, y, **settings)

    class Mortal(nn.Module):
        calls, life = 0, 0

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            Mortal.calls += 1
            if Mortal.calls == Mortal.life:
                raise KilledError
            return self.inner(x)

    for Mortal.life in (20, 40, 30):
        Mortal.calls = 0
        with pytest.raises(KilledError):
            evaluate_robustness(Mortal(), x, y, folder=tmp_path, **settings)
    kept = len(list(tmp_path.glob("*.safetensors")))
    assert kept > 3
    Mortal.life = 0
    resumed = evaluate_robustness(Mortal(), x, y, folder=tmp_path, **settings)
    assert_close(resumed.broken_by, whole.broken_by)
    assert_close(resumed.images, whole.images, rtol=0, atol=0)
    assert_close(resumed.calls, whole.calls)
    Mortal.calls = 0
    evaluate_robustness(Mortal(), x, y, folder=tmp_path, **settings)
    assert Mortal.calls <= 10  # the clean images only


@pytest.mark.parametrize(
    "change", [{"generator": torch.Generator().manual_seed(4)}, {"steps": 7}, {"sets": PixelBall("linf", 0.04)}]
)
def test_a_folder_of_another_evaluation_is_refused(change: Mapping[str, Any], tmp_path: Path) -> None:
    model, (x, y) = classifier(), data(6)
    settings: dict[str, Any] = {"sets": PixelBall("linf", 0.03), "generator": torch.Generator().manual_seed(3), **SMALL}
    evaluate_robustness(model, x, y, folder=tmp_path, **settings)

    with pytest.raises(ValueError, match="holds an evaluation of another model, data or settings"):
        evaluate_robustness(model, x, y, folder=tmp_path, **{**settings, **change})
    with pytest.raises(ValueError, match="holds an evaluation of another model"):
        evaluate_robustness(classifier(), x, y, folder=tmp_path, **settings)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    model, (x, y) = classifier(), data(6)
    settings: dict[str, Any] = {"sets": PixelBall("linf", 0.001), **SMALL}
    y = model.eval()(x).argmax(1)
    evaluate_robustness(model, x, y, folder=tmp_path, **settings)
    part = min(tmp_path.glob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:9])

    with pytest.raises(ValueError, match=f"{part.name} was damaged"):
        evaluate_robustness(model, x, y, folder=tmp_path, **settings)


def test_bad_input_is_refused() -> None:
    model, (x, y) = classifier(), data(6)
    with pytest.raises(ValueError, match="labels must be within 0 and 4"):
        evaluate_robustness(model, x, y + 3, PixelBall("linf", 0.1), **SMALL)
    with pytest.raises(ValueError, match="at least one image"):
        evaluate_robustness(model, x[:0], y[:0], PixelBall("linf", 0.1), **SMALL)
    with pytest.raises(ValueError, match="sets must hold at least one"):
        evaluate_robustness(model, x, y, {}, **SMALL)


def test_the_summary_says_it_all() -> None:
    result = Robustness(("a", "b"), torch.tensor([-1, -2, 1, 1, 0]), torch.rand(5, 2), torch.tensor([9, 1, 5, 6, 2]))

    assert result.summary() == {
        "images": 5,
        "independent": 5,
        "clean": share_interval(torch.arange(5) < 4)._asdict(),
        "accuracy": share_interval(torch.arange(5) < 1)._asdict(),
        "broken": {"a": 1, "b": 2},
        "calls": 23,
    }


def test_the_bar_shows_the_robust_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    model, (x, y) = classifier(), data(6)
    evaluate_robustness(model, x, y, PixelBall("linf", 0.1), progress=True, **SMALL)

    assert "robust" in capsys.readouterr().out
