"""Learned sets in albumentations' pipelines."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch

import augment
from cvae import SpatialCVAE
from perturbsets import LatentBall, load
from perturbsets.albumentations import Perturb, _loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = SpatialCVAE(height=12, width=10, latent=4).eval()
    for parameter in model.parameters():  # fresh networks hardly use their latents
        torch.nn.init.normal_(parameter, std=0.3)
    learned = LatentBall(model, 2.0, bank=torch.randn(20, 4))
    return learned.save(tmp_path_factory.mktemp("sets") / "learned")


def image(*shape: int, dtype: str = "uint8") -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    return (values * 255).astype("uint8") if dtype == "uint8" else values.astype(dtype)


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_draws_are_those_of_the_set(folder: Path, shape: tuple[int, ...], dtype: str) -> None:
    given = image(*shape, dtype=dtype)
    made = A.ReplayCompose([Perturb(folder, moves_pixels=False, p=1.0)])(image=given)
    seed = made["replay"]["transforms"][0]["params"]["seed"]

    plain = augment.Perturb(load(folder), generator=torch.Generator().manual_seed(seed))
    expected = plain(torch.from_numpy(given.reshape(1, 12, 10))).reshape(shape).numpy()

    assert made["image"].dtype == given.dtype
    assert not np.array_equal(made["image"], given)
    np.testing.assert_allclose(made["image"], expected, atol=1e-6)


def test_several_images_share_their_offset(folder: Path) -> None:
    given = image(3, 12, 10)
    made = A.ReplayCompose([Perturb(folder, p=1.0)])(images=given)

    assert made["images"].shape == given.shape
    for one, clean in zip(made["images"], given, strict=True):
        again = A.ReplayCompose.replay(made["replay"], image=clean)["image"]
        assert np.abs(one.astype(int) - again).max() <= 1  # one image alone is within rounding of a batch


def test_what_is_saved_is_the_path(folder: Path, tmp_path: Path) -> None:
    pipeline = A.Compose([Perturb(folder, p=1.0)])
    A.save(pipeline, tmp_path / "pipeline.yaml", data_format="yaml")
    again = A.load(tmp_path / "pipeline.yaml", data_format="yaml")
    given = image(12, 10)
    pipeline.set_random_seed(1)
    again.set_random_seed(1)

    assert json.loads(json.dumps(A.to_dict(again)))["transform"]["transforms"][0]["folder"] == str(folder)
    assert len(pickle.dumps(pipeline)) < 20_000  # no weights
    np.testing.assert_array_equal(again(image=given)["image"], pipeline(image=given)["image"])


def test_weights_are_read_once_and_not_before_the_first_image(folder: Path) -> None:
    _loaded.cache_clear()
    first, second = Perturb(folder, p=1.0), Perturb(str(folder), p=1.0)
    assert _loaded.cache_info().misses == 0

    first(image=image(12, 10))
    second(image=image(12, 10))

    assert _loaded.cache_info().misses == 1


def test_masks_are_refused_unless_no_pixel_moves(folder: Path) -> None:
    sample = {"image": image(12, 10), "mask": image(12, 10)}

    with pytest.raises(ValueError, match="sample holds mask"):
        Perturb(folder, p=1.0)(**sample)
    np.testing.assert_array_equal(Perturb(folder, moves_pixels=False, p=1.0)(**sample)["mask"], sample["mask"])


def test_missing_folder_is_named_at_the_first_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Perturb(tmp_path / "nowhere", p=1.0)(image=image(12, 10))
