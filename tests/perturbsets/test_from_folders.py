"""A recipe that is written for a user's two folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image
from typer.testing import CliRunner

from perturbsets import cli, memory
from perturbsets.recipe import read_recipe
from perturbsets.recipe.from_folders import LARGEST, write_recipe
from perturbsets.runs import execute


def write_pairs(count: int = 40, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> None:
    """Patches of a photograph in ``clean``, blurred in ``changed``."""
    photograph = Image.fromarray(load_sample_image("china.jpg")).convert(mode)
    for folder in ("clean", "changed"):
        Path(folder).mkdir()
    for i in range(count):
        patch = photograph.crop((8 * i, 200, 8 * i + size[1], 200 + size[0]))
        patch.save(f"clean/{i:03}.png")
        patch.filter(ImageFilter.GaussianBlur(1 + i % 3)).save(f"changed/{i:03}.jpg")


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: None)


def test_the_command_writes_a_recipe_that_runs() -> None:
    write_pairs()
    done = CliRunner().invoke(cli.app, ["new", "my-set", "--pairs", "clean/", "changed/"])
    short = ["fit.steps=2", "fit.validate_every=1", "pairs.processes=1", "check.necessary.steps=1"]
    short += ["check.necessary.restarts=1", "check.sufficient.draws=2", "check.theorems.tail_draws=1024"]
    short += ["check.overapproximation.steps=2"]
    recipe = read_recipe("my-set.yaml", short)
    run = execute(recipe, quiet=True)

    assert done.exit_code == 0, done.output
    assert "perturbsets run my-set.yaml" in done.output
    assert recipe.stages == ["pairs", "fit", "check", "report"]
    assert recipe.pairs.of.size == (24, 16)
    assert (run.path / "report.html").is_file()
    assert run.path.as_posix().endswith("runs/my-set")


def test_the_file_is_the_users() -> None:
    write_pairs(12)
    Path("my-set.yaml").write_text("mine")

    with pytest.raises(FileExistsError, match=r"my-set\.yaml exists and is not overwritten"):
        write_recipe("my-set", "clean", "changed")
    assert Path("my-set.yaml").read_text() == "mine"


def test_images_are_made_small_in_their_proportions_and_grey_ones_stay_grey() -> None:
    write_pairs(40, (160, 120), "L")
    text = write_recipe("grey", "clean", "changed").read_text()
    pairs = read_recipe("grey.yaml").pairs.of

    assert pairs.size == (LARGEST, 0.75 * LARGEST)
    assert pairs.channels == 1
    assert "the files have 160×120" in text
    assert "That is few" in text


@pytest.mark.parametrize("name", ["a/b", "../a", "", "a b"])
def test_a_name_is_a_file_name(name: str) -> None:
    with pytest.raises(ValueError, match="name must be a plain file name"):
        write_recipe(name, "clean", "changed")


def test_unequal_folders_and_missing_splits_are_refused() -> None:
    write_pairs(3)
    with pytest.raises(ValueError, match=r"got 3 pairs and none for .*add pairs, or sort them"):
        write_recipe("my-set", "clean", "changed")
    Path("changed/001.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 in clean have no partner: 001\.png"):
        write_recipe("my-set", "clean", "changed")
    with pytest.raises(ValueError, match=r"must be a folder of images, got .*nowhere"):
        write_recipe("my-set", "nowhere", "changed")
    assert not Path("my-set.yaml").exists()


def test_folders_without_usable_images_are_refused() -> None:
    write_pairs(40)
    for file in Path("changed").iterdir():
        Image.fromarray(np.zeros((9, 9), "uint8")).save(file)

    with pytest.raises(ValueError, match="no usable pair; the first fault: the images of a pair must have one size"):
        write_recipe("my-set", "clean", "changed")
