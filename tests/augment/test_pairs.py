from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from augment import ChangedPairs, Digits, PairStore, SpatialChange, write_pairs
from augment.store.hdf5_layout import image_digests

SPLITS = ("train", "validation", "test")


def sources(size: int = 12) -> dict[str, Any]:
    return {name: Digits(name, size=size, digit=8) for name in SPLITS}  # type: ignore[arg-type]


def two_draws(seed: int) -> ChangedPairs:
    return ChangedPairs(sources(), SpatialChange(), draws=2, seed=seed)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.h5", two_draws(seed=3)).path


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    (tmp_path / "copy.h5").write_bytes(stored.read_bytes())
    return tmp_path / "copy.h5"


def test_every_pair_can_be_made_again_from_its_parameters(stored: Path) -> None:
    store = PairStore(stored, "test")
    clean, changed, _, label = store.batch(range(len(store)))
    digits = sources()["test"]

    again = SpatialChange().apply(digits.images.repeat_interleave(2, 0), store.parameters)

    assert_close(clean, (digits.images * 255).round().byte().repeat_interleave(2, 0))
    assert ((again * 255).round() - changed.float()).abs().max() <= 1
    assert_close(label, digits.labels.repeat_interleave(2))


def test_settings_of_the_change_are_recorded(stored: Path) -> None:
    recorded = PairStore(stored).provenance["change"]

    assert recorded.pop("class") == "SpatialChange"
    assert SpatialChange(**{**recorded, "scale": tuple(recorded["scale"])}).settings == SpatialChange().settings


def test_splits_are_by_source_image(stored: Path) -> None:
    found = [set(PairStore(stored, split).sources.tolist()) for split in SPLITS]

    assert [len(part) for part in found] == [1197, 300, 300]
    assert len(set.union(*found)) == 1797
    assert len(PairStore(stored)) == 2 * 1797


def test_same_seed_gives_the_same_bytes_whatever_the_batch(tmp_path: Path, stored: Path) -> None:
    again = write_pairs(tmp_path / "a.h5", two_draws(seed=3), batch=77).path
    other = write_pairs(tmp_path / "b.h5", two_draws(seed=4)).path

    assert again.read_bytes() == stored.read_bytes()
    assert other.read_bytes() != stored.read_bytes()


def test_batch_items_and_loader_agree(stored: Path) -> None:
    store = PairStore(stored, "validation")
    rows = torch.tensor([5, 0, 599, 5])
    batch = store.batch(rows)

    for part, items in zip(batch, zip(*[store[int(row)] for row in rows], strict=True), strict=True):
        assert_close(part, torch.stack(items))
    collated = next(iter(DataLoader(store, batch_size=4, sampler=rows.tolist())))
    assert_close(collated.changed, batch.changed)
    with pytest.raises(IndexError):
        store.batch([600])


def test_workers_open_the_file_themselves(stored: Path) -> None:
    store = PairStore(stored, "test")
    store.batch([0])
    loader = DataLoader(store, batch_size=300, num_workers=2, multiprocessing_context="fork")

    together = torch.cat([batch.changed for batch in loader])

    assert_close(together, store.batch(range(600)).changed)
    assert_close(pickle.loads(pickle.dumps(store)).batch([3]).changed, store.batch([3]).changed)


def test_reading_never_writes(stored: Path) -> None:
    before = stored.read_bytes()
    clean, *_ = PairStore(stored).batch([0])
    clean += 1

    assert stored.read_bytes() == before


def test_float_stores_keep_their_type(tmp_path: Path) -> None:
    draws = {"train": 1, "validation": 1, "test": 1}
    written = write_pairs(tmp_path / "p.h5", ChangedPairs(sources(), SpatialChange(), draws=draws), dtype="float32")

    assert PairStore(written.path).batch([0]).changed.dtype == torch.float32


def test_missing_file_names_the_function_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`write_pairs` makes one"):
        PairStore(tmp_path / "none.h5")


def test_truncated_and_foreign_files_are_refused(copy: Path) -> None:
    whole = copy.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated"):
        PairStore(copy)
    copy.write_bytes(b"no hdf5 at all")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        PairStore(copy)


def edit_external(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.ExternalLink("/etc/passwd", "/label")


def edit_missing(file: h5py.File) -> None:
    del file["parameters"]


def edit_dtype(file: h5py.File) -> None:
    del file["source"]
    file["source"] = np.zeros(3594, dtype=np.float32)


def edit_source(file: h5py.File) -> None:
    file["source"][0] = 99999


def edit_chunked(file: h5py.File) -> None:
    images = file["changed"][()]
    del file["changed"]
    file.create_dataset("changed", data=images, chunks=(8, 1, 12, 12))


def edit_values(file: h5py.File) -> None:
    for name in ("changed", "clean"):
        images = file[name][()].astype(np.float32) / 255
        images[3, 0, 2, 2] = np.nan
        del file[name]
        file[name] = images


def edit_shape(file: h5py.File) -> None:
    images = file["clean"][:, :, :-1]
    del file["clean"]
    file["clean"] = images


def edit_order(file: h5py.File) -> None:
    values = file["parameters"][()]
    names = file["parameters"].attrs["names"]
    del file["parameters"]
    file["parameters"] = values.astype(values.dtype.newbyteorder(">"))
    file["parameters"].attrs["names"] = names


def edit_attribute(file: h5py.File) -> None:
    del file.attrs["splits"]


def edit_provenance(file: h5py.File) -> None:
    file.attrs["provenance"] = "{"


def edit_version(file: h5py.File) -> None:
    file.attrs["version"] = 99


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_external, "a link to elsewhere"),
        (edit_missing, "no data set 'parameters'"),
        (edit_dtype, "'source' must have 1 dimensions of int64"),
        (edit_source, "source must number clean images"),
        (edit_chunked, "chunked or compressed"),
        (edit_values, r"values in \[0, 1\], got nan"),
        (edit_shape, "changed images are"),
        (edit_version, "version 99"),
        (edit_order, "byte order of another machine"),
        (edit_attribute, "attribute is missing or damaged .*splits"),
        (edit_provenance, "attribute is missing or damaged"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(copy: Path, edit: Any, message: str) -> None:
    with h5py.File(copy, "r+") as file:
        edit(file)

    with pytest.raises(ValueError, match=message):
        PairStore(copy)


def test_unknown_split_lists_those_there(stored: Path) -> None:
    with pytest.raises(ValueError, match=r"split must be one of \['train', 'validation', 'test'\]"):
        PairStore(stored, "all")


def test_failing_change_leaves_nothing(tmp_path: Path) -> None:
    class Bright(SpatialChange):
        def apply(self, images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
            return images + 1

    with pytest.raises(ValueError, match=r"changed images must lie within \[0, 1\]"):
        write_pairs(tmp_path / "p.h5", ChangedPairs(sources(), Bright()))
    assert list(tmp_path.iterdir()) == []


def test_splits_may_not_share_images() -> None:
    with pytest.raises(ValueError, match="must not share images"):
        ChangedPairs({"a": Digits("test"), "b": Digits("test")}, SpatialChange())


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path, full_disk: Any) -> None:
    pairs = ChangedPairs({"test": Digits("test")}, SpatialChange())
    with pytest.raises(OSError, match=r"could not write .*Nothing half-written was left"), full_disk(100_000):
        write_pairs(tmp_path / "p.h5", pairs)

    assert list(tmp_path.iterdir()) == []


def test_a_run_of_pairs_is_what_its_single_pairs_are(tmp_path: Path) -> None:
    pairs = ChangedPairs({"test": Digits("test", size=12, digit=8)}, SpatialChange())
    store = PairStore(write_pairs(tmp_path / "p.h5", pairs).path)
    for positions in (range(5, 60), [7, 8], [7, 9, 8, 10], [7, 7, 9, 10], [-2, -1], [299], [298, 299]):
        each = [store[position] for position in positions]
        for part, items in zip(store.batch(positions), zip(*each, strict=True), strict=True):
            assert_close(part, torch.stack(items))
    assert len(store.batch([]).clean) == 0
    with pytest.raises(IndexError):
        store.batch([298, 299, 300])


def test_images_are_known_again_by_their_pixels(tmp_path: Path, stored: Path) -> None:
    found = {split: PairStore(stored, split).digests() for split in SPLITS}
    other = write_pairs(tmp_path / "other.h5", two_draws(seed=4), dtype="float32").path

    assert [len(part) for part in found.values()] == [1197, 300, 300]
    assert len(torch.cat(list(found.values())).unique()) == 1797
    for split in SPLITS:
        assert torch.equal(PairStore(other, split).digests(), found[split])
    assert torch.equal(PairStore(stored).digests(), torch.cat(list(found.values())).sort().values)


def test_images_of_another_shape_or_value_have_other_numbers() -> None:
    black = np.zeros((1, 1, 4, 6), dtype=np.uint8)
    grey = black + 1

    assert len({int(image_digests(images)[0]) for images in (black, grey, black.reshape(1, 1, 6, 4))}) == 3
    assert image_digests(black[:0]).shape == (0,)
