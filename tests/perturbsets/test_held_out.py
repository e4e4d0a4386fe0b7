from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from augment import Change, ChangedPairs, Digits, PairStore, Perturb, SpatialChange, write_pairs
from perturbsets import (
    ComposedSet,
    Coverage,
    DrawnChanges,
    LatentBall,
    NecessarySubset,
    PerturbationSet,
    PixelBall,
    SetQuality,
    Standardized,
    SufficientLikelihood,
    check_held_out,
)
from perturbsets.sets import PairsUsed
from perturbsets.sets.pairs_used import pairs_used

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
    for criterion in (NecessarySubset(1, restarts=1), SufficientLikelihood(1), SetQuality()):
        with pytest.raises(ValueError, match="pairs must be held out"):
            criterion(learned, PairStore(file, "train"))


@dataclass(frozen=True)
class Wrapper(PerturbationSet):
    """A set of a user's, without a word on what it was learned from."""

    inner: Any
    radius: Any = 1.0
    learned_from: tuple[PairsUsed, ...] = ()  # its own, if it were learned

    def at(self, images: Any) -> Any:
        return self.inner.at(images)


class Plain(PerturbationSet):
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def at(self, images: Any) -> Any:
        return self.inner.at(images)


@dataclass(frozen=True)
class ChangeByFunction(Change):
    """A change that is any function of images."""

    function: Any
    parameter_names = ()

    def draw(self, count: int, *, generator: Any = None) -> Any:
        raise AssertionError("never drawn")

    def apply(self, images: Any, params: Any) -> Any:
        raise AssertionError("never applied")


def enclosing(learned: LatentBall) -> Any:
    def change(images: Any) -> Any:
        return learned.at(images)

    return change


WRAPPED: dict[str, Any] = {
    "composed": lambda s: ComposedSet([PixelBall("linf", 0.1), s]),
    "standardized": lambda s: Standardized(s, sigma=0.5),
    "composed of standardized": lambda s: ComposedSet([Standardized(s, sigma=0.5, radius=1.0), PixelBall("l2", 0.1)]),
    "standardized composition": lambda s: Standardized(ComposedSet([PixelBall("l2", 0.1), s]), sigma=(0.5, 0.5)),
    "a user's": Wrapper,
    "a user's around a user's": lambda s: Wrapper(Plain(Wrapper([PixelBall("l2", 0.1), s]))),
    "by name": lambda s: Wrapper({"first": (s, None)}),
    "replaced": lambda s: replace(Standardized(PixelBall("l2", 1.0), sigma=0.5), perturbations=replace(s, radius=2.0)),
    "for some images": lambda s: Standardized(replace(s, radius=torch.ones(5)), sigma=0.5).select(torch.arange(2)),
    "a transform": lambda s: DrawnChanges(ChangeByFunction(Perturb(s))),
    "a function": lambda s: DrawnChanges(ChangeByFunction(enclosing(s))),
    "a method": lambda s: DrawnChanges(ChangeByFunction(partial(s.at))),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_what_a_wrapped_set_was_learned_from_counts(learned: LatentBall, file: Path, wrap: Any) -> None:
    with pytest.raises(ValueError, match=r"owes 100% to its fit \(train\): take the split 'test'"):
        check_held_out(wrap(learned), PairStore(file, "train"))
    check_held_out(wrap(learned), PairStore(file, "test"))
    assert pairs_used(wrap(learned)) == learned.learned_from


def test_sets_that_learned_from_splits_of_one_name_all_count(learned: LatentBall, file: Path) -> None:
    train, others = PairStore(file, "train"), PairsUsed("fit", ("train",), torch.tensor([-1]))
    for order in (1, -1):
        parts = [learned, replace(learned, learned_from=(others,))][::order]
        with pytest.raises(ValueError, match=r"owes 100% to its fit \(train\)"):
            check_held_out(ComposedSet(parts), train)


def test_no_certificate_is_issued_on_pairs_that_a_wrapped_set_was_learned_from(learned: LatentBall, file: Path) -> None:
    for wrapped in (
        Standardized(learned, sigma=0.5, radius=1.0),
        Wrapper(ComposedSet([Standardized(learned, sigma=0.5, radius=1.0)] * 2)),
    ):
        with pytest.raises(ValueError, match="pairs must be held out"):
            Coverage(share=0.9, alpha=0.05, steps=1, restarts=1)(wrapped, PairStore(file, "validation"))


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
