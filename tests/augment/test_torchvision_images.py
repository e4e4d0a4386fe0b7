"""Frames, splits and files of the data sets that torchvision reads."""

from __future__ import annotations

import gzip
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from augment import CIFAR10, MNIST, FashionMNIST, Source


@pytest.fixture(scope="module")
def mnist(root: Path) -> Path:
    shared = root.parent / "shared" / "data" / "mnist"
    if not shared.is_dir():
        pytest.skip(f"needs MNIST's files in {shared}")
    return shared / "MNIST" / "raw"


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_a_frame_holds_the_image_in_its_middle(
    kind: type[MNIST] | type[FashionMNIST], mnist: Path, tmp_path: Path
) -> None:
    # The two data sets share one format, and torchvision reads whatever lies unpacked in the folder.
    folder = tmp_path / kind.__name__ / "raw"
    folder.mkdir(parents=True)
    for packed in mnist.glob("*.gz"):
        with gzip.open(packed) as source, (folder / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    plain, framed, odd = (kind("test", str(tmp_path), size=size) for size in (28, 42, 33))

    image, labels = plain.batch(range(50))
    wide, same = framed.batch(range(50))

    assert isinstance(framed, Source)
    assert wide.shape == (50, 1, 42, 42)
    assert_close(wide[:, :, 7:35, 7:35], image)
    assert_close(wide.sum(), image.sum())
    assert_close(odd.batch(range(50))[0][:, :, 2:30, 2:30], image)
    assert_close(labels, same)
    with pytest.raises(ValueError, match="size must be at least 28, got 27"):
        kind(size=27)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Made-up files in CIFAR-10's format, whose checksums are not asked for."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        data = draw.integers(0, 256, (10_000, 3072), dtype=np.uint8)
        content = {"data": data, "labels": draw.integers(0, 10, 10_000).tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR10.classes)}))
    monkeypatch.setattr("torchvision.datasets.CIFAR10._check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *given: True)
    return str(tmp_path)


def test_cifar10_gives_channels_first_and_splits_without_a_shared_image(cifar: str) -> None:
    content = pickle.loads((Path(cifar) / "cifar-10-batches-py" / "data_batch_5").read_bytes())
    train, validation, test = (CIFAR10(split, cifar, held=3000) for split in ("train", "validation", "test"))

    images, labels = validation.batch([0, 2999])

    assert isinstance(train, Source)
    assert (len(train), len(validation), len(test)) == (47_000, 3000, 10_000)
    expected = torch.from_numpy(content["data"].reshape(-1, 3, 32, 32)[[7000, 9999]])  # red, green, blue, row by row
    assert_close(images, expected.float() / 255)
    assert labels.tolist() == [content["labels"][7000], content["labels"][9999]]
    assert torch.equal(torch.cat([train.indices, validation.indices, test.indices]), torch.arange(60_000))


def test_missing_files_of_cifar10_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*given: object, **named: object) -> None:
        raise RuntimeError("Error downloading cifar-10-python.tar.gz")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", offline)
    with pytest.raises(OSError, match=r"root must hold the files of CIFAR-10 in .*cifar-10-batches-py, or a network"):
        CIFAR10(root=str(tmp_path)).batch([0])
