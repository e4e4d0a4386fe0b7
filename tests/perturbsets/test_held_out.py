from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from augment import ChangedPairs, Digits, PairStore, SpatialChange, write_pairs
from perturbsets import (
    Compose,
    LatentBall,
    NecessarySubset,
    PairsUsed,
    PixelBall,
    SetQuality,
    SufficientLikelihood,
    check_held_out,
)

SPLITS = ("train", "validation", "test")
SHUFFLED = {"train": "test", "validation": "train", "test": "validation"}


def made(path: Path, splits: dict[str, str] | None = None, **settings: Any) -> Path:
    """Pairs of digits; splits under other names are another way of splitting the same images."""
    sources = {name: Digits((splits or {}).get(name, name), size=8, digit=8) for name in SPLITS}  # type: ignore[arg-type]
    return write_pairs(path, ChangedPairs(sources, SpatialChange(), draws=2, seed=1), **settings).path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("pairs") / "pairs.h5")


@pytest.fixture(scope="module")
def learned(linear_cvae: Any, file: Path) -> LatentBall:
    used = (PairsUsed.of("fit", PairStore(file, "train")), PairsUsed.of("selection", PairStore(file, "validation")))
    return LatentBall(linear_cvae(height=8, width=8), 1.0, learned_from=used)


def test_held_out_pairs_pass(learned: LatentBall, file: Path) -> None:
    check_held_out(learned, PairStore(file, "test"))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", r"owes 100% to its fit \(train\): take the split 'test'"),
        ("validation", r"owes 100% to its selection \(validation\): take the split 'test'"),
        (None, r"owes 67% to its fit \(train\), 17% to its selection \(validation\): take the split 'test'"),
    ],
)
def test_pairs_that_were_learned_from_are_refused(
    learned: LatentBall, file: Path, split: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_held_out(learned, PairStore(file, split))


@pytest.mark.parametrize("settings", [{"dtype": "float32"}, {"dtype": "uint8"}])
def test_the_same_images_are_known_in_another_file_and_split(
    learned: LatentBall, tmp_path: Path, settings: dict[str, Any]
) -> None:
    other = made(tmp_path / "other.h5", SHUFFLED, **settings)

    check_held_out(learned, PairStore(other, "train"))
    with pytest.raises(ValueError, match=r"its fit \(train\): take the split 'train'"):
        check_held_out(learned, PairStore(other, "validation"))
    with pytest.raises(ValueError, match=r"its selection \(validation\): take the split 'train'"):
        check_held_out(learned, PairStore(other, "test"))


def test_a_file_without_any_split_left_says_so(learned: LatentBall, tmp_path: Path) -> None:
    sources = {"test": Digits("train", size=8, digit=8)}
    other = write_pairs(tmp_path / "other.h5", ChangedPairs(sources, SpatialChange(), draws=1, seed=1)).path

    with pytest.raises(ValueError, match="no split is free of them, make pairs of other images"):
        check_held_out(learned, PairStore(other))


def test_a_few_equal_images_are_chance_and_more_are_not(learned: LatentBall, file: Path) -> None:
    fit, selection = learned.learned_from
    unseen = PairStore(file, "test").digests()
    for copies, refused in ((3, False), (4, True)):  # of 300
        used = (replace(fit, images=torch.cat([fit.images, unseen[:copies]])), selection)
        some = replace(learned, learned_from=used)
        if refused:
            with pytest.raises(ValueError, match="owes 1% to its fit"):
                check_held_out(some, PairStore(file, "test"))
        else:
            check_held_out(some, PairStore(file, "test"))


def test_every_criterion_refuses(learned: LatentBall, file: Path) -> None:
    for criterion in (NecessarySubset(1, 1), SufficientLikelihood(1), SetQuality()):
        with pytest.raises(ValueError, match="pairs must be held out"):
            criterion(learned, PairStore(file, "train"))


def test_the_parts_of_a_composed_set_count(learned: LatentBall, file: Path) -> None:
    with pytest.raises(ValueError, match="pairs must be held out"):
        check_held_out(Compose([PixelBall("linf", 0.1), learned]), PairStore(file, "train"))


def test_what_knows_no_origin_passes(learned: LatentBall, file: Path, memory_pairs: Any) -> None:
    store = PairStore(file, "train")
    clean, changed, source, _ = store.batch(range(10))

    check_held_out(replace(learned, learned_from=()), store)
    check_held_out(PixelBall("linf", 0.1), store)
    check_held_out(learned, memory_pairs(clean, changed, source))


def test_what_was_learned_from_is_saved_and_loaded(learned: LatentBall, file: Path, tmp_path: Path) -> None:
    loaded = LatentBall.load(learned.save(tmp_path / "set"))

    assert [(use.purpose, use.splits) for use in loaded.learned_from] == [
        ("fit", ("train",)),
        ("selection", ("validation",)),
    ]
    for saved, found in zip(learned.learned_from, loaded.learned_from, strict=True):
        assert torch.equal(saved.images, found.images)
        assert saved.images.dtype == torch.int64
    with pytest.raises(ValueError, match="pairs must be held out"):
        check_held_out(loaded, PairStore(file, "train"))


def test_sets_that_were_saved_without_it_load(learned: LatentBall, tmp_path: Path) -> None:
    folder = learned.save(tmp_path / "set")
    (folder / "set.json").write_text('{"kind": "LatentBall", "radius": 1.0, "draw": "prior"}')

    assert LatentBall.load(folder).learned_from == ()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x00\xff\xfe"])
def test_a_record_that_is_lost_or_damaged_is_refused(
    learned: LatentBall, tmp_path: Path, content: bytes | None
) -> None:
    file = learned.save(tmp_path / "set") / "learned_from.safetensors"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)

    with pytest.raises(ValueError, match=r"learned_from\.safetensors is missing or corrupted"):
        LatentBall.load(tmp_path / "set")
