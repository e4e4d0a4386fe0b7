from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import Digits
from perturbsets import SmallConvNet
from perturbsets.representations import write_bank
from tests.perturbsets.representations.random_images import RandomImages


class Net(nn.Module):
    """Counts its passes; one of its layers lies inside another, one behaves otherwise while it is trained."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.last = nn.Linear(144, 3)
        self.passes = 0
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return self.last(self.first(images).flatten(1))


def every(data: RandomImages, batch: int) -> tuple[Tensor, Tensor]:
    """All images and labels, in the batches in which they are drawn."""
    rows = torch.arange(len(data)).split(batch)
    images, labels = zip(*(data.batch(some.tolist()) for some in rows), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_a_bank_holds_what_layers_make_of_each_image(tmp_path: Path) -> None:
    model, data = Net(), RandomImages(50)
    images, labels = every(data, 16)

    bank = write_bank(tmp_path / "bank.h5", model, ["last", "first.*"], data, activation="none", batch=16)

    with torch.no_grad():
        model.eval()
        normal = model.first[1](model.first[0](images))
        logits = model.last(normal.relu().flatten(1))
    expected = {
        "first.0": model.first[0](images).flatten(1),
        "first.1": normal.flatten(1),
        "first.2": normal.relu().flatten(1),
        "last": logits,
    }
    assert bank.layers == tuple(expected)
    for layer, features in expected.items():
        assert_close(bank.features(layer, torch.arange(50)), features.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(bank.labels, labels)
    assert torch.equal(bank.predictions, logits.argmax(1))
    assert len(bank.predictions.unique()) > 1
    assert bank.classes == ("ant", "bee", "cow")
    assert bank.provenance["data"]["count"] == 50


def test_features_are_after_a_relu_unless_activation_is_none(tmp_path: Path) -> None:
    raw, rectified = (
        write_bank(tmp_path / f"{activation}.h5", Net(), "*", RandomImages(20), activation=activation)  # type: ignore[arg-type]
        for activation in ("none", "relu")
    )

    for layer in raw.layers:
        features = raw.features(layer, range(20))
        assert torch.equal(rectified.features(layer, range(20)), features.relu())
    assert bool((raw.features("last", range(20)).amax(1) < 0).any())  # where the largest logit would be cut off
    assert torch.equal(raw.predictions, rectified.predictions)


def test_each_image_passes_once_and_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = Net().train()
    before = copy.deepcopy(model.state_dict())
    told: list[tuple[int, int]] = []
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)

    write_bank(tmp_path / "bank.h5", model, "first", RandomImages(50), batch=20, progress=lambda *now: told.append(now))

    assert model.passes == 3
    assert told == [(20, 50), (40, 50), (50, 50)]
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(torch.rand(1), drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.h5"]


@dataclass
class Interrupted(RandomImages):
    """Fails at one of its batches, once."""

    at: int | None = field(default=None, init=False)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        if rows[0] == self.at:
            self.at = None
            raise KeyboardInterrupt
        return super().batch(rows)


def test_work_that_was_ended_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = write_bank(tmp_path / "whole.h5", Net(), "*", Interrupted(50), batch=10).path.read_bytes()
    data = Interrupted(50)
    data.at = 30
    with pytest.raises(KeyboardInterrupt):
        write_bank(tmp_path / "bank.h5", Net(), "*", data, batch=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.h5.partial", "whole.h5"]
    data.asked.clear()

    bank = write_bank(tmp_path / "bank.h5", Net(), "*", data, batch=10)

    assert data.asked == [0, 30, 40]  # the first one again, to see that all is the same
    assert bank.path.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.h5", "whole.h5"]


@pytest.mark.parametrize(
    "changed",
    [
        {"model": Net(seed=1)},
        {"layers": "last"},
        {"activation": "none"},
        {"batch": 9},
        {"data": Interrupted(50, kinds=2)},
        {"data": Interrupted(49)},
    ],
    ids=["model", "layers", "activation", "batch", "labels", "images"],
)
def test_other_work_starts_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    data = Interrupted(50)
    data.at = 30
    settings: dict[str, Any] = {"layers": "*", "batch": 10}
    with pytest.raises(KeyboardInterrupt):
        write_bank(tmp_path / "bank.h5", Net(), data=data, **settings)
    settings |= {"model": Net(), "data": Interrupted(50)} | changed
    expected = write_bank(tmp_path / "whole.h5", **settings).path.read_bytes()
    asked = list(settings["data"].asked)
    settings["data"].asked.clear()

    assert write_bank(tmp_path / "bank.h5", **settings).path.read_bytes() == expected
    assert settings["data"].asked == asked


def test_a_bank_that_is_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    old = write_bank(tmp_path / "bank.h5", Net(), "last", RandomImages(9)).path.read_bytes()
    data = Interrupted(50)
    data.at = 10
    with pytest.raises(KeyboardInterrupt):
        write_bank(tmp_path / "bank.h5", Net(), "last", data, batch=10)

    assert (tmp_path / "bank.h5").read_bytes() == old
    assert len(write_bank(tmp_path / "bank.h5", Net(), "last", data, batch=10)) == 50


class Nameless:
    """Images alone, as a newcomer may have them."""

    def __len__(self) -> int:
        return 5

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return RandomImages(5, (3,)).batch(rows)


def test_data_need_no_names_and_images_no_channels(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "new" / "bank.h5", nn.Linear(3, 2), "", Nameless())

    assert (bank.layers, bank.classes) == (("",), ())
    assert bank.features("", [4]).shape == (1, 2)
    with pytest.raises(ValueError, match="class 1 must have at least 4 images"):
        bank.members(1, 4)


class Faulty(RandomImages):
    """Gives something wrong from image 10 on."""

    what: str

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        images, labels = super().batch(rows)
        if rows[0] < 10:
            return images, labels
        return {
            "nan": (images.index_fill(0, torch.tensor(3), torch.nan), labels),
            "size": (images.repeat(1, 1, 1, 2), labels),
            "labels": (images, labels[1:]),
            "kind": (images, labels.double()),
            "images": (images[1:], labels),
        }[self.what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "must give a matrix of finite logits"),
        ("size", r"images of one size, got features \(512,\) after \(256,\) in table layer0"),
        ("labels", r"an image and a whole number as label for each of 10 rows, got .* labels \[9\]"),
        ("kind", "labels .* of torch.float64"),
        ("images", r"got images \[9, 1, 8, 8\]"),
    ],
)
def test_data_that_do_not_fit_together_are_refused(tmp_path: Path, what: str, message: str) -> None:
    data = Faulty(30)
    data.what = what
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    with pytest.raises(ValueError, match=message):
        write_bank(tmp_path / "bank.h5", model, "0", data, batch=10)
    assert not (tmp_path / "bank.h5").exists()


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        return images.double() * self.scale


def test_features_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), Scaled(1e300), Scaled(1e-300))

    with pytest.raises(ValueError, match="layer '1' must give finite features, got NaN or infinity for image 0"):
        write_bank(tmp_path / "bank.h5", model, ["1"], RandomImages(5))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": RandomImages(0)}, "at least one image, got none"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"layers": "first.9"}, "first.9"),
        (
            {"model": nn.Sequential(nn.Conv2d(1, 2, 3)), "layers": "0"},
            r"matrix of finite logits, .* got \[20, 2, 6, 6\]",
        ),
        ({"model": nn.Sequential(nn.LSTM(8, 2)), "layers": "0", "data": RandomImages(5, (8,))}, "got tuple"),
    ],
)
def test_what_makes_no_bank_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": Net(), "layers": "last", "data": RandomImages(20)} | changed

    with pytest.raises(ValueError, match=message):
        write_bank(tmp_path / "bank.h5", **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(OSError, match=r"could not write .*bank.h5"):
        write_bank(tmp_path / "bank.h5", Net(), "last", RandomImages(5))


def test_features_of_digits_are_stored(tmp_path: Path) -> None:
    digits, model = Digits("test"), SmallConvNet().eval()

    bank = write_bank(tmp_path / "bank.h5", model, "*", digits, batch=64)

    assert torch.equal(bank.labels, digits.labels)
    assert bank.classes == digits.classes
    with torch.no_grad():
        assert (bank.predictions == model(digits.images).argmax(1)).double().mean() > 0.99
    with h5py.File(bank.path) as file:  # rows lie one behind the other, to be mapped
        assert all(file[name].chunks is None for name in file)
