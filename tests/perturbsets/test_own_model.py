"""The command line on a model and images of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxtyping
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close
from typer.testing import CliRunner

from augment import Digits
from perturbsets import PixelBall, cli, evaluate_robustness, memory
from perturbsets.own_model import build_model, chosen_set, importable, read_data

CODE = """
import torch
from torch import nn

class Model(nn.Sequential):
    def __init__(self, classes=10):
        super().__init__(nn.Flatten(), nn.Linear(64, classes))

def make():
    torch.manual_seed(0)
    return Model()

model = make()
number = 3

def logits(images):
    return model(images)
"""
QUICK = ["--steps", "3", "--queries", "3", "--device", "cpu"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, and a folder of digits in folders of their classes."""
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    (tmp_path / "my_models.py").write_text(CODE)
    images, labels = Digits("test", size=8, digit=8).batch(range(40))
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * image[0]).round().byte().numpy()).save(folder / f"{number:03}.png")
    return tmp_path


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["attack", *arguments], terminal_width=200)


def test_a_model_and_a_folder_give_the_figures_of_the_library(here: Path) -> None:
    with importable(here):
        model = build_model("my_models:make")
    with torch.no_grad():
        model[1].weight.mul_(2.0)
    safetensors.torch.save_file(model.state_dict(), here / "w.safetensors")

    shown = invoke(
        *("--model", "my_models:make", "--weights", "w.safetensors", "--data", "digits", *QUICK),
        *("--norm", "linf", "--radius", "8/255", "--json", "figures.json"),
    )

    assert shown.exit_code == 0, shown.output
    expected = evaluate_robustness(model, read_data("digits", "test"), PixelBall("linf", 8 / 255), steps=3, queries=3)
    content = json.loads((here / "figures.json").read_text())
    assert content["accuracy"] == expected.accuracy._asdict()
    assert content["clean"] == expected.clean._asdict()
    assert content["images"] == 40
    assert content["threat_model"] == "PixelBall(norm='linf', radius=0.0313725)"
    assert content["model"] == "my_models:make"
    lines = {line[:16].strip(): line[17:] for line in shown.stdout.splitlines()}
    assert lines["clean accuracy"].startswith(f"{100 * expected.clean.mean:.1f} % [")
    assert lines["robust accuracy"].startswith(f"{100 * expected.accuracy.mean:.1f} % [")
    assert lines["threat model"] == content["threat_model"]
    assert lines["images"] == "40"
    assert lines["time"].endswith(" forward passes")
    assert str(here) not in sys.path


def test_images_of_a_folder_come_as_they_are_with_all_their_classes(here: Path) -> None:
    data, (images, _) = read_data("digits", "test"), Digits("test", size=8, digit=8).batch(range(40))
    assert len(data) == 40
    read, labels = data.batch(range(40))
    assert read.shape == (40, 1, 8, 8)
    assert_close(read.sum(), images.sum(), rtol=1e-2, atol=0)
    assert [data.classes[label] for label in labels.tolist()] == [path.parent.name for path in data.paths]


def test_a_learned_set_and_a_number_of_images_can_be_chosen(here: Path) -> None:
    shown = invoke("--model", "my_models:model", "--data", "digits", "--norm", "l2", "--images", "7", *QUICK)
    assert shown.exit_code == 0, shown.output
    assert "PixelBall(norm='l2', radius=0.5)" in shown.stdout
    assert "images           7" in shown.stdout
    assert repr(chosen_set("linf", "2", "digits-rts")).startswith("LatentBall(SpatialCVAE, radius 2 in 16 latents")
    assert chosen_set("l1", None, None) == PixelBall("l1", 12.0)


@pytest.mark.parametrize("name", ["make", "model", "Model", "logits"])
def test_models_come_as_objects_makers_classes_and_functions(here: Path, name: str) -> None:
    with importable(here):
        model = build_model(f"my_models:{name}")
    assert isinstance(model, nn.Module)
    assert not model.training
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--model": "my_models"}, "model must be of the form mypackage.mymodule:make_model, got 'my_models'"),
        ({"--model": "absent:make"}, "model absent:make needs a module 'absent', which is neither in"),
        ({"--model": "my_models:none"}, "my_models has no none"),
        ({"--model": "my_models:number"}, "must be or make a torch.nn.Module, got a int"),
        ({"--weights": "absent.safetensors"}, "weights must be a safetensors file, got absent.safetensors"),
        ({"--weights": "my_models.py"}, "pickles are not read: safetensors.torch.save_file"),
        ({"--weights": "other.safetensors"}, "got 2 missing (1.weight, 1.bias) and 1 unknown (weight) in other"),
        ({"--data": "absent"}, "data must be a folder with a folder of images for each class, or hf:NAME, got absent"),
        ({"--data": "empty"}, "data must hold images, found none below empty"),
        ({"--data": "digits/1"}, "data must have a folder for each class"),
        ({"--norm": "l3"}, "norm must be one of ['l1', 'l2', 'linf'], got 'l3'"),
        ({"--radius": "8/x"}, "radius must be a number such as 8/255 or 0.5, got '8/x'"),
        ({"--set": "digit-rts"}, "did you mean 'digits-rts'?"),
    ],
)
def test_mistakes_take_one_line(
    here: Path, changed: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # these tests check types before the package does
    (here / "empty").mkdir()
    safetensors.torch.save_file({"weight": torch.zeros(1)}, here / "other.safetensors")
    options = {"--model": "my_models:make", "--data": "digits", **changed}
    shown = invoke(*(word for pair in options.items() for word in pair), *QUICK)
    assert shown.exit_code == 2
    assert shown.stderr.startswith("error: ")
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_data_set_of_the_hub_needs_its_package_and_names_its_columns(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--model", "my_models:make", "--data", "hf:owner/digits", *QUICK]
    monkeypatch.setitem(sys.modules, "datasets", None)
    shown = invoke(*options)
    assert shown.exit_code == 2
    assert "data hf:owner/digits needs Hugging Face datasets: pip install datasets" in shown.stderr

    images, labels = Digits("test", size=8, digit=8).batch(range(12))
    rows = [{"img": image, "fine": int(label)} for image, label in zip(images, labels, strict=True)]
    asked: list[tuple[str, str]] = []
    package: Any = ModuleType("datasets")
    package.load_dataset = lambda name, split: asked.append((name, split)) or rows
    monkeypatch.setitem(sys.modules, "datasets", package)
    shown = invoke(*options, "--fields", "img,fine", "--split", "validation")
    assert shown.exit_code == 0, shown.output
    assert asked == [("owner/digits", "validation")]
    assert "images           12" in shown.stdout
