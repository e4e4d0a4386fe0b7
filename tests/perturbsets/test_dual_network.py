"""The network of classes and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from perturbsets import Adversary, PixelBall, SmallConvNet
from perturbsets.label_states import DualModel, label_branch
from perturbsets.models import DualConvNet
from perturbsets.multi_label import BinaryCrossEntropy

SIZES: dict[str, Any] = {"channels": 2, "height": 9, "width": 16, "hidden": 12, "widths": (4, 8)}


def network(shared: bool, **given: Any) -> DualConvNet:
    return DualConvNet(**{**SIZES, "classes": 5, "labels": 3, "shared": shared, **given})


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 2, 9, 16)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("labels", [1, 3])
def test_called_with_images_alone_it_is_a_classifier_and_survives_saving(
    shared: bool, labels: int, tmp_path: Path
) -> None:
    model, x = network(shared, labels=labels).eval(), images()
    model.save_pretrained(tmp_path)
    loaded = DualConvNet.from_pretrained(tmp_path)

    assert model(x).shape == (6, 5)
    assert_close(model(x, both=True), (model(x), model.label_branch(x)))
    assert_close(loaded(x, both=True), model(x, both=True))


@pytest.mark.parametrize("shared", [False, True])
def test_rows_asked_for_are_those_of_the_whole(shared: bool) -> None:
    model, x = network(shared), images()
    classes, labels = model(x, both=True)

    got = model(x, both=True, class_rows=slice(2, None), label_rows=slice(0, 3))
    assert_close(got, (classes[2:], labels[:3]))


@pytest.mark.parametrize(("shared", "bodies"), [(False, 2), (True, 1)])
def test_every_weight_is_held_once_and_there_are_as_many_as_of_its_parts(shared: bool, bodies: int) -> None:
    model = network(shared)
    classifier, labeller = (SmallConvNet(**SIZES, classes=count) for count in (5, 3))
    counts = [sum(p.numel() for p in each.parameters()) for each in (model, classifier, labeller)]
    body = counts[1] - (12 * 5 + 5)

    assert counts[0] == counts[1] + counts[2] - (2 - bodies) * body
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values()]
    assert len(set(pointers)) == len(pointers) == len(list(model.parameters()))
    assert not [name for name in model.state_dict() if "branch" in name]


def test_the_label_branch_of_separate_networks_shares_no_weight_with_the_classifier() -> None:
    for shared in (False, True):
        model = network(shared)
        both = set(model.class_branch.parameters()) & set(model.label_branch.parameters())
        assert bool(both) is shared
        assert set(model.class_branch.parameters()) | set(model.label_branch.parameters()) == set(model.parameters())


def test_only_a_dual_model_has_a_label_branch() -> None:
    model: DualModel = network(shared=True)
    branch, x = label_branch(model), images()
    assert branch is not None
    assert_close(branch(x), model(x, both=True)[1])
    assert label_branch(SmallConvNet(**SIZES)) is None


@pytest.mark.parametrize("shared", [False, True])
def test_an_adversary_of_the_label_branch_leaves_the_network_as_it_was(shared: bool) -> None:
    model, x = network(shared).train(), images()
    model.body.eval()
    modes = [module.training for module in model.modules()]
    found = Adversary(PixelBall("linf", 0.1), BinaryCrossEntropy())(model.label_branch, x, torch.ones(6, 3))

    assert (found.images != x).any()
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": 0}, "labels 1, got classes=5, labels=0"),
        ({"classes": 1}, "classes must be at least 2"),
        ({"height": 3}, "height and width 4"),
        ({"kernel": 5}, "kernel 3 or 4"),
    ],
)
def test_impossible_sizes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(True, **given)
