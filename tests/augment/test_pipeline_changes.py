"""Pipelines from elsewhere as changes: replayable, and without a trace in any global state."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torchvision import transforms as v1
from torchvision.transforms import v2

from augment import (
    AlbumentationsChange,
    Change,
    ChangedPairs,
    Digits,
    Mixture,
    PairStore,
    RandomCorruption,
    SpatialChange,
    TorchvisionChange,
    write_pairs,
)
from augment.change import restored_random_states
from augment.functional import draw_seeds
from augment.functional.counter import from_columns, to_columns

albumentations = pytest.importorskip("albumentations")


def noisy(image: torch.Tensor) -> torch.Tensor:
    """Draws from all three global generators."""
    noise = torch.rand(image.shape) + float(np.random.rand()) + random.random()
    return image * noise / 3


def changes() -> dict[str, Change]:
    return {
        "v2": TorchvisionChange(v2.Compose([v2.RandomRotation(30), v2.ColorJitter(0.5)])),
        "v1": TorchvisionChange(v1.Compose([v1.RandomAffine(30), v1.RandomHorizontalFlip()]), takes="pil"),
        "function": TorchvisionChange(noisy, takes="float"),
        "albumentations": AlbumentationsChange(
            albumentations.Compose([albumentations.Rotate(30, p=1), albumentations.RandomBrightnessContrast(p=1)])
        ),
        "one": AlbumentationsChange(albumentations.GaussNoise(p=1), takes="float"),
    }


def states() -> tuple[Any, ...]:
    legacy: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), legacy[1].tolist(), legacy[2]


@pytest.mark.parametrize("name", changes())
def test_one_seed_gives_one_image(name: str, generator: torch.Generator) -> None:
    change = changes()[name]
    image = torch.rand(1, 3, 16, 16, generator=generator).expand(6, -1, -1, -1).contiguous()
    rows = change.draw(6, generator=generator)
    before, kept = states(), image.clone()

    changed = change.apply(image, rows)

    assert isinstance(change, Change)
    assert states() == before
    assert_close(image, kept)
    assert len({part.numpy().tobytes() for part in changed}) > 4  # flips alone may repeat
    assert_close(change.apply(image, rows), changed, rtol=0, atol=0)
    for row in (5, 2):  # whatever else is in the batch, and in a fresh process
        again = pickle.loads(pickle.dumps(change)) if name != "function" else change
        assert_close(again.apply(image[row : row + 1], rows[row : row + 1])[0], changed[row], rtol=0, atol=0)
    assert change.apply(image[:0], rows[:0]).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("name", ["v2", "albumentations"])
def test_pipelines_make_pairs_of_grey_images(name: str, tmp_path: Path) -> None:
    sources, change = {"test": Digits("test", size=12, digit=8)}, changes()[name]

    store = PairStore(write_pairs(tmp_path / "p.h5", ChangedPairs(sources, change)).path)

    clean, changed, *_ = store.batch(range(40))
    again = change.apply(clean.float() / 255, store.parameters[:40])
    assert_close((again * 255).round().byte(), changed)
    assert store.conditions == (type(change).__name__,)
    assert "Rotat" in str(store.provenance["change"])


def test_python_draws_on_as_if_nothing_had_been() -> None:
    before = random.getstate()
    with restored_random_states():  # tested alone: the checker of types draws from Python's generator itself
        noisy(torch.zeros(1))
        assert random.getstate() != before

    assert random.getstate() == before


def test_seeds_are_exact_in_single_precision() -> None:
    seeds = draw_seeds(1000, generator=torch.Generator().manual_seed(1))

    rows = to_columns(seeds)

    assert rows.dtype == torch.float32
    assert from_columns(rows).tolist() == seeds.tolist()
    assert len(seeds.unique()) == 1000
    assert 2**47 < seeds.max() < 2**48
    assert from_columns(torch.tensor([[2.0**24 - 1, 2.0**24 - 1]])).item() == 2**48 - 1
    for bad in (torch.zeros(1, 3), torch.full((1, 2), 0.5), torch.full((1, 2), 2.0**24)):
        with pytest.raises(ValueError, match="whole numbers below"):
            from_columns(bad)


def test_what_cannot_be_a_pipeline_is_refused() -> None:
    images, rows = torch.rand(1, 3, 8, 8), torch.zeros(1, 2)
    with pytest.raises(ValueError, match=r"must keep the shape of images, got \(3, 4, 4\) from \(3, 8, 8\)"):
        TorchvisionChange(v2.CenterCrop(4)).apply(images, rows)
    with pytest.raises(ValueError, match="must keep the shape"):
        AlbumentationsChange(albumentations.CenterCrop(4, 4)).apply(images, rows)
    with pytest.raises(TypeError, match="must be a transform or composition of albumentations, got CenterCrop"):
        AlbumentationsChange(v2.CenterCrop(4))


def test_what_is_no_change_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # these tests check types before the package does
    sources = {"test": Digits("test"), "validation": Digits("validation")}
    parts = Mixture([RandomCorruption(["fog"])]), v2.RandomRotation(30), lambda images: images
    for bare, name in zip(parts, ("Mixture", "RandomRotation", "function"), strict=True):
        for change in (bare, {"test": SpatialChange(), "validation": bare}):
            with pytest.raises(TypeError, match=f"{name}: wrap it: .*AlbumentationsChange"):
                ChangedPairs(sources, change)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be an object, got the class SpatialChange: give SpatialChange"):
        ChangedPairs(sources, SpatialChange)  # type: ignore[arg-type]


def test_a_wrapped_mixture_makes_pairs(tmp_path: Path) -> None:
    mixture = Mixture([RandomCorruption(["gaussian_noise"])])
    pairs = ChangedPairs({"test": Digits("test", size=12, digit=8)}, TorchvisionChange(mixture))

    clean, changed, *_ = PairStore(write_pairs(tmp_path / "p.h5", pairs).path).batch(range(40))

    assert (clean != changed).flatten(1).any(1).all()


def test_names_tell_pipelines_apart(tmp_path: Path) -> None:
    sources = {split: Digits(split, size=12, digit=8) for split in ("validation", "test")}
    jitter = albumentations.RandomBrightnessContrast(p=1)
    named = {
        "validation": TorchvisionChange(v2.RandomRotation(30), name="turned"),
        "test": AlbumentationsChange(jitter, name="bright"),
    }

    written = write_pairs(tmp_path / "p.h5", ChangedPairs(sources, named))

    assert {split: list(counts) for split, counts in written.counts.items()} == {
        "validation": ["turned"],
        "test": ["bright"],
    }
    assert AlbumentationsChange(jitter).conditions == ("AlbumentationsChange",)
