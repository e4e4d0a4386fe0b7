from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from perturbsets.representations import FeatureBank, MemoryBank, nearest_neighbours, rank_in_class, write_bank
from tests.perturbsets.representations.random_images import RandomImages

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bank(tmp_path_factory.mktemp("bank") / "bank.h5", MODEL, ["1", "2"], RandomImages(50)).path


@pytest.fixture(scope="module")
def bank(path: Path) -> FeatureBank:
    return FeatureBank(path)


def test_rows_come_in_the_shape_and_order_asked_for(bank: FeatureBank) -> None:
    every = bank.features("1", torch.arange(50))

    for rows in (
        torch.tensor([7, 7, 49, 0]),
        torch.tensor([[3, 4, 5], [9, 8, 7]]),
        torch.tensor(6),
        torch.arange(9, 30),
    ):
        assert torch.equal(bank.features("1", rows), every[rows])
    assert bank.features("1", [8, 2]).shape == (2, 5)
    assert bank.features("1", []).shape == (0, 5)


@pytest.mark.parametrize("size", [None, 1, 7, 50, 99])
def test_blocks_go_through_all_rows_in_order(bank: FeatureBank, size: int | None) -> None:
    every, chosen = bank.features("2", torch.arange(50)), torch.tensor([9, 3, 44, 2])

    whole, some = list(bank.blocks("2", size=size)), list(bank.blocks("2", size=size, rows=chosen))

    assert torch.equal(torch.cat([block.rows for block in whole]), torch.arange(50))
    assert torch.equal(torch.cat([block.features for block in whole]), every)
    assert torch.equal(torch.cat([block.rows for block in some]), chosen)
    assert torch.equal(torch.cat([block.features for block in some]), every[chosen])
    assert max(len(block.rows) for block in whole) == min(size or 50, 50)
    assert next(bank.blocks("2", size=size, rows=chosen[:0])).features.shape == (0, 5)


def test_what_was_read_may_be_written_to(bank: FeatureBank) -> None:
    for rows in (torch.arange(4), torch.tensor([3, 1])):
        before = bank.features("1", rows)
        bank.features("1", rows).zero_()
        assert torch.equal(bank.features("1", rows), before)


def test_a_bank_in_memory_gives_what_one_in_a_file_gives(bank: FeatureBank) -> None:
    memory = MemoryBank(
        {layer: bank.features(layer, torch.arange(50)) for layer in bank.layers}, bank.labels, bank.classes
    )
    points = torch.rand(4, 5)

    assert (memory.layers, memory.classes, len(memory)) == (bank.layers, bank.classes, len(bank))
    found, same = (nearest_neighbours(points, each.blocks("2"), 3) for each in (bank, memory))
    assert torch.equal(found.rows, same.rows)
    ranks = [rank_in_class(points, torch.tensor([0, 1, 2, 0]), each, "1") for each in (bank, memory)]
    assert torch.equal(*ranks)


def test_members_are_the_rows_of_a_class(bank: FeatureBank) -> None:
    for label, name in enumerate(("ant", "bee", "cow")):
        assert bank.members(label).tolist() == [row for row in range(50) if 7 * row % 3 == label]
        with pytest.raises(ValueError, match=rf"class {label} \({name}\) must have at least 18 images"):
            bank.members(label, 18)
    with pytest.raises(ValueError, match="class -1 must have at least 1 images in the bank, got 0"):
        bank.members(-1)


def test_layers_and_rows_that_are_not_there_are_refused(bank: FeatureBank) -> None:
    with pytest.raises(ValueError, match=r"one of the bank's 2 layers, got '3': nearest are \['[12]', '[12]'\]"):
        bank.features("3", [0])
    for rows in ([50], [-1], [3, 99]):
        with pytest.raises(IndexError, match="rows must be from 0 to 49"):
            bank.features("1", rows)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        next(bank.blocks("1", size=0))


def test_features_in_memory_must_fit_labels() -> None:
    labels = torch.zeros(3, dtype=torch.int64)

    with pytest.raises(ValueError, match=r"a row for each of 3 labels, got \{'b': 4\}"):
        MemoryBank({"a": torch.rand(3, 2), "b": torch.rand(4, 2)}, labels)
    for features, none in (({}, labels), ({"a": torch.rand(0, 2)}, labels[:0])):
        with pytest.raises(ValueError, match="features must hold a layer and an image"):
            MemoryBank(features, none)
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity in row 2"):
        next(MemoryBank({"a": torch.rand(3, 2).log() / torch.tensor([[1.0], [1.0], [0.0]])}, labels).blocks("a"))


def _replaced(file: h5py.File, name: str, **options: object) -> None:
    del file[name]
    file.create_dataset(name, **options)


def _linked(file: h5py.File, name: str, link: object) -> None:
    del file[name]
    file[name] = link


BAD: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "of another format": (
        lambda file: file.attrs.modify("format", "perturbsets.pairs"),
        "expected perturbsets.features",
    ),
    "of another version": (lambda file: file.attrs.modify("version", 9), "version 9, expected"),
    "without layers' names": (lambda file: file.attrs.pop("layers"), "an attribute is missing or damaged"),
    "without layers": (lambda file: file.attrs.create("layers", np.array([], dtype="S1")), "it has no layers"),
    "with damaged provenance": (
        lambda file: file.attrs.modify("provenance", "{"),
        "an attribute is missing or damaged",
    ),
    "without a table": (lambda file: file.pop("layer1"), "it has no data set 'layer1'"),
    "with more names than tables": (lambda file: file.attrs.create("layers", ["1", "2", "3"]), "no data set 'layer2'"),
    "with an external link": (
        lambda file: _linked(file, "layer0", h5py.ExternalLink("/etc/passwd", "/x")),
        "'layer0' is a link to elsewhere",
    ),
    "with a soft link": (lambda file: _linked(file, "labels", h5py.SoftLink("/predictions")), "link to elsewhere"),
    "with a group": (lambda file: (file.pop("layer0"), file.create_group("layer0")), "'layer0' is no data set"),
    "with doubles": (
        lambda file: _replaced(file, "layer0", data=np.zeros((50, 5))),
        r"2 dimensions of float32, got shape \(50, 5\) of float64",
    ),
    "with wrong labels": (lambda file: _replaced(file, "labels", data=np.zeros((50, 1))), "1 dimensions of int64"),
    "with fewer labels": (
        lambda file: _replaced(file, "labels", data=np.zeros(49, dtype=np.int64)),
        "49 labels, and other numbers of rows",
    ),
    "with more predictions": (
        lambda file: _replaced(file, "predictions", data=np.zeros(51, dtype=np.int64)),
        r"other numbers of rows: \{'predictions': 51\}",
    ),
    "compressed": (
        lambda file: _replaced(file, "layer0", data=np.zeros((50, 5), dtype=np.float32), compression="gzip"),
        "chunked or compressed",
    ),
    "of another byte order": (
        lambda file: _replaced(file, "layer0", data=np.zeros((50, 5), dtype=">f4")),
        "byte order of another machine",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_files_are_refused_with_the_reason(path: Path, tmp_path: Path, kind: str) -> None:
    damage, reason = BAD[kind]
    damaged = tmp_path / "bank.h5"
    damaged.write_bytes(path.read_bytes())
    with h5py.File(damaged, "r+") as file:
        damage(file)

    with pytest.raises(ValueError, match=rf"bank.h5 is no usable bank of features: .*{reason}.*`write_bank`"):
        FeatureBank(damaged)


def test_files_that_are_cut_off_are_refused(path: Path, tmp_path: Path) -> None:
    whole, cut = path.read_bytes(), tmp_path / "cut.h5"
    for length in itertools.chain(range(0, len(whole), 97), [len(whole) - 1]):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"no usable bank of features: .*truncated"):
            FeatureBank(cut)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no bank")

    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        FeatureBank(tmp_path / "text.h5")
    for path in (tmp_path / "absent.h5", tmp_path):
        with pytest.raises(FileNotFoundError, match="`write_bank` makes one"):
            FeatureBank(path)


def test_features_that_are_not_finite_are_refused_when_read(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "bank.h5"
    damaged.write_bytes(path.read_bytes())
    with h5py.File(damaged, "r+") as file:
        file["layer0"][30, 2] = np.nan
    bank = FeatureBank(damaged)

    assert bank.features("1", range(30)).shape == (30, 5)
    with pytest.raises(ValueError, match="layer '1' must be finite, got NaN or infinity in row 30"):
        nearest_neighbours(torch.rand(1, 5), bank.blocks("1"), 2)
