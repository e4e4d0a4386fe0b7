from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from torch.testing import assert_close

from augment import MNIST, Source


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the packed files."""
    shared = root.parent / "shared" / "data" / "mnist"
    if not shared.is_dir():
        pytest.skip(f"needs MNIST's files in {shared}")
    copy = tmp_path_factory.mktemp("mnist")
    shutil.copytree(shared, copy, dirs_exist_ok=True)
    return str(copy)


def test_images_are_those_of_torchvision(folder: str) -> None:
    test = MNIST("test", folder)
    images, labels = test.batch([3, 7, 9999])
    theirs = torchvision.datasets.MNIST(folder, train=False)

    assert isinstance(test, Source)
    assert len(test) == 10_000
    assert_close(images, theirs.data[[3, 7, 9999], None].float() / 255)
    assert torch.equal(labels, theirs.targets[[3, 7, 9999]])
    assert images.amax() == 1
    assert_close(test[7][0], images[1])
    assert test[7][1] == labels[1]


@pytest.mark.parametrize(("size", "before"), [(28, 0), (31, 1), (42, 7)])
def test_larger_images_are_framed_in_zeros(folder: str, size: int, before: int) -> None:
    images, _ = MNIST("test", folder, size=size).batch([3, 7])
    inner = slice(before, before + 28)

    assert images.shape == (2, 1, size, size)
    assert_close(images[..., inner, inner], MNIST("test", folder).batch([3, 7])[0], rtol=0, atol=0)
    assert (images > 0).sum() == (images[..., inner, inner] > 0).sum()


def test_splits_share_no_image(folder: str) -> None:
    train, validation, test = (MNIST(split, folder, held=1000) for split in ("train", "validation", "test"))

    assert (len(train), len(validation)) == (59_000, 1000)
    indices = torch.cat([train.indices, validation.indices, test.indices])
    assert torch.equal(indices, torch.arange(70_000))
    assert_close(validation.batch([0])[0], MNIST("train", folder, held=0).batch([59_000])[0])


def test_bad_arguments_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for given, message in (
        ({"split": "all"}, "split must be one of"),
        ({"held": -1}, "held must be within 0 and 59999"),
        ({"size": 27}, "size must be at least 28, got 27"),
        ({"split": "validation", "held": 0}, "held must be at least 1 for a validation split"),
    ):
        with pytest.raises(ValueError, match=message):
            MNIST(root=str(tmp_path), **given)  # type: ignore[arg-type]


def test_missing_files_without_a_network_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*given: object, **named: object) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", offline)
    with pytest.raises(OSError, match=r"root must hold the files of MNIST in .*raw, or a network"):
        MNIST(root=str(tmp_path)).batch([0])
    assert len(MNIST("test", str(tmp_path))) == 10_000  # which is known without a look
