from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from perturbsets import AccuracyTable, Adversary, PixelBall, ProjectedGradient, evaluate, share_interval
from perturbsets.evaluation import correct_under


def classifier() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(), nn.Linear(16, 3))


def data(count: int = 40) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 3, 4), torch.randint(0, 3, (count,))


def adversary(radius: float) -> Adversary:
    return Adversary(PixelBall("linf", radius), ascent=ProjectedGradient(5, starts="zero", step_size=0.02))


@pytest.mark.parametrize("batch", [7, 256])
def test_clean_flags_are_the_direct_prediction(batch: int) -> None:
    model, (x, y) = classifier().train(), data()
    flags = correct_under(model, None, x, y, batch=batch)

    assert all(module.training for module in model.modules())
    assert torch.equal(flags, model.eval()(x).argmax(1) == y)


def test_flags_under_attack_are_predictions_on_what_was_found() -> None:
    model, (x, y) = classifier().eval(), data()
    flags = correct_under(model, adversary(0.05), x, y, batch=9)
    found = adversary(0.05)(model, x, y)

    assert torch.equal(flags, model(found.images).argmax(1) == y)
    assert torch.equal(correct_under(model, adversary(0.0), x, y), correct_under(model, None, x, y))
    assert not (flags & ~correct_under(model, None, x, y)).any()


@pytest.mark.parametrize("attack", [None, adversary(0.1)])
def test_data_that_do_not_fit_are_refused(attack: Adversary | None) -> None:
    x, y = data(4)
    for labels in (y[:3], y.float(), y + 3):
        with pytest.raises(ValueError, match=r"labels must (be|have)"):
            correct_under(classifier(), attack, x, labels)
    with pytest.raises(ValueError, match="at least one image"):
        correct_under(classifier(), attack, x[:0], y[:0])
    with pytest.raises(ValueError, match="model must return logits"):
        correct_under(nn.Identity(), attack, x, y)


def test_tables_hold_every_classifier_under_every_adversary() -> None:
    x, y = data()
    models: dict[str, Any] = {"one": classifier(), "several": [classifier(), classifier()]}
    advanced: list[int] = []
    table = evaluate(models, {"clean": None, "attack": adversary(0.1)}, x, y, advance=lambda: advanced.append(1))

    assert table.rows == ["one", "several"]
    assert table.columns == ["clean", "attack"]
    assert table.correct["one", "clean"].shape == (1, 40)
    assert table.correct["several", "attack"].shape == (2, 40)
    assert len(advanced) == 6
    for number, model in enumerate(models["several"]):
        assert torch.equal(table.correct["several", "clean"][number], correct_under(model, None, x, y))
        assert torch.equal(table.correct["several", "attack"][number], correct_under(model, adversary(0.1), x, y))


def test_the_same_seed_gives_the_same_table() -> None:
    x, y = data()
    model = classifier()
    attacks = {"random": Adversary(PixelBall("linf", 0.1), ascent=ProjectedGradient(1))}
    draws = torch.Generator()
    first, second = (
        evaluate({"a": model, "b": model}, attacks, x, y, generator=draws.manual_seed(5)).correct for _ in range(2)
    )

    assert torch.equal(first["a", "random"], second["a", "random"])
    assert torch.equal(first["a", "random"], first["b", "random"])


def test_summary_is_plain_and_right() -> None:
    flags = torch.tensor([[True, True, False, True], [True, False, False, True]])
    summary = AccuracyTable({("net", "clean"): flags, ("net", "attack"): ~flags}).summary()

    assert summary["images"] == 4
    assert summary["rows"] == ["net"]
    assert summary["columns"] == ["clean", "attack"]
    cell = summary["accuracy"]["net"]["clean"]
    assert cell["mean"] == 5 / 8
    # Seeds see the same images, so images are what is counted.
    assert cell == share_interval(torch.tensor([1.0, 0.5, 0.0, 1.0]))._asdict()
    assert summary["accuracy"]["net"]["attack"]["mean"] == 3 / 8
    assert cell["low"] <= cell["mean"] <= cell["high"]


@pytest.mark.parametrize("attack", [None, adversary(0.1)])
def test_a_model_that_returns_nan_is_refused(attack: Adversary | None) -> None:
    model = classifier().eval()
    with torch.no_grad():
        model[1].bias[0] = float("nan")
    with pytest.raises(ValueError, match="model must return finite"):
        correct_under(model, attack, torch.rand(4, 1, 3, 4), torch.zeros(4, dtype=torch.long))


def test_one_seed_has_an_exact_interval() -> None:
    table = AccuracyTable({("plain", "attack"): torch.zeros(1, 50, dtype=torch.bool)})

    assert table.accuracy("plain", "attack") == share_interval(torch.arange(50) < 0)
    assert (table.accuracy("plain", "attack").high or 0) > 0.05
