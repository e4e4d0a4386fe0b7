"""The learned sets that come with the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import augment
from augment import RandomCorruption, SpatialChange
from perturbsets import LatentBall, NecessarySubset, attacks, load, pretrained
from perturbsets.loading import PRETRAINED, pack

SIZES = {"colour-corruptions": (3, 32, 32), "digits-rts": (1, 28, 28), "mnist-rts": (1, 28, 28)}
MEBIBYTE = 2**20


@pytest.fixture(scope="module", params=sorted(SIZES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def learned(name: str) -> LatentBall:
    return load(name)


def content(name: str, file: str) -> Any:
    return yaml.safe_load((PRETRAINED / name / file).read_text())


def test_names_come_with_a_line_each() -> None:
    listed = pretrained()

    assert sorted(listed) == sorted(SIZES)
    for name, line in listed.items():
        assert f"images {'x'.join(map(str, SIZES[name]))}, radius {content(name, 'set.json')['radius']:.3g}" in line
        assert "\n" not in line


def test_sets_are_small(name: str) -> None:
    sizes = {each: sum(file.stat().st_size for file in (PRETRAINED / each).iterdir()) for each in SIZES}

    assert sizes[name] <= 2 * MEBIBYTE
    assert sum(sizes.values()) <= 6 * MEBIBYTE


def test_what_made_a_set_lies_beside_it(name: str, root: Path) -> None:
    about, recipe = content(name, "about.json"), content(name, "recipe.yaml")
    program, command, file = about["command"].split()[:3]

    assert (program, command) == ("perturbsets", "run")
    assert (root / file).is_file()
    assert len(about["commit"]) == 40
    assert recipe["model"]["build"].endswith(content(name, "config.json")["architecture"])
    assert recipe["output"] == f"runs/{name}"
    assert {"necessary", "sufficient", "approximation", "radius"} <= set(content(name, "criteria.json"))


def test_members_are_images_in_single_precision(name: str, learned: LatentBall) -> None:
    images = torch.rand(5, *SIZES[name])
    region = learned.at(images)

    assert {parameter.dtype for parameter in learned.model.parameters()} == {torch.float32}
    assert learned.bank is not None
    assert learned.bank.dtype == torch.float32
    assert learned.radius == pytest.approx(content(name, "criteria.json")["radius"]["value"])
    for offsets in (region.centre(), region.sample(), region.random_start()):
        members = region.decode(offsets)
        assert members.shape == images.shape
        assert members.dtype == images.dtype
        assert ((members >= 0) & (members <= 1)).all()


def test_sets_can_be_attacked_by_name(name: str, learned: LatentBall) -> None:
    images = torch.rand(3, *SIZES[name])
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4))
    results = [
        attacks.latent_pgd(given, steps=2)(
            model, images, torch.tensor([0, 1, 2]), generator=torch.Generator().manual_seed(0)
        )
        for given in (name, learned)
    ]

    assert torch.equal(results[0].images, results[1].images)
    assert (results[0].offsets.norm(dim=1) <= learned.radius + 1e-4).all()  # type: ignore[operator]


def held_out(name: str, root: Path, folder: Path) -> tuple[Any, augment.Change]:
    """Images that the set was not learned from, and the change that it was learned from."""
    settings = content(name, "recipe.yaml")["change"]
    change = {key: tuple(value) if key == "scale" else value for key, value in settings.items() if key != "build"}
    if name == "colour-corruptions":
        return augment.Patches(split="test", size=32, stride=8), RandomCorruption(**change)
    if name == "digits-rts":
        return augment.Digits(split="test", size=28, digit=16), SpatialChange(**change)
    raw = root.parent / "shared" / "data" / "mnist" / "MNIST" / "raw"
    if not raw.is_dir():
        pytest.skip(f"needs the files of MNIST in {raw}")
    shutil.copytree(raw, folder / "MNIST" / "raw")
    return augment.MNIST(split="test", root=str(folder), held=1000, size=28), SpatialChange(**change)


def test_figures_hold_on_images_that_were_held_out(
    name: str, learned: LatentBall, root: Path, tmp_path: Path, memory_pairs: Any, generator: torch.Generator
) -> None:
    source, change = held_out(name, root, tmp_path)
    images, _ = source.batch(torch.arange(0, len(source), len(source) // 24)[:24])
    pairs = memory_pairs(images, change.apply(images, change.draw(24, generator=generator)), torch.arange(24))
    figures = NecessarySubset(steps=10, restarts=1)(learned, pairs, generator=generator).summary()
    expected = content(name, "criteria.json")["necessary"]

    assert figures["identity"]["mean"] == pytest.approx(expected["identity"]["mean"], rel=0.5)
    for error in ("encoding", "centre"):  # shares of the change, which few images scatter
        assert expected[error]["share"] / 3 < figures[error]["share"] < 3 * expected[error]["share"]


def test_packing_keeps_what_a_set_does(linear_cvae: Any, tmp_path: Path) -> None:
    run, generator = tmp_path / "run", torch.Generator().manual_seed(0)
    saved = LatentBall(linear_cvae(), radius=1.5, bank=torch.randn(400, 2, generator=generator))
    saved.save(run / "set")
    (run / "checks").mkdir()
    (run / "checks" / "checks.json").write_text("{}")
    (run / "recipe.yaml").write_text("seed: 0\nfit: {steps: 3}\nclassifiers: {}\nunseen: null\n")
    (run / "run.json").write_text(json.dumps({"commit": "0" * 40, "versions": {"torch": "2"}, "seed": 0}))
    packed = pack(run, tmp_path / "packed", title="a shift", command="perturbsets run recipe.yaml")
    loaded, images, u = load(packed), torch.rand(2, 1, 2, 3), torch.randn(2, 2)

    assert torch.allclose(loaded.at(images).decode(u), saved.at(images).decode(u), atol=2e-3)
    assert loaded.bank is not None
    assert saved.bank is not None
    assert torch.equal(loaded.bank, saved.bank.half().float())
    assert loaded.model.likelihood.scale == saved.model.likelihood.scale
    assert yaml.safe_load((packed / "recipe.yaml").read_text()) == {"seed": 0, "fit": {"steps": 3}}
    assert json.loads((packed / "about.json").read_text())["title"] == "a shift"
    assert (packed / "bank.safetensors").stat().st_size < 0.6 * (run / "set" / "bank.safetensors").stat().st_size
    assert (packed / "bank.safetensors").stat().st_mode & 0o777 == 0o644
