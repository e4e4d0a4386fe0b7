from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from cvae import SpatialCVAE
from perturbsets import LatentBall
from perturbsets.sets.balls import log_chi_cdf


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 1, 2, 3)


def test_offsets_count_prior_standard_deviations(linear_cvae: Any, images: torch.Tensor) -> None:
    model = linear_cvae()
    region = LatentBall(model, 2.0).at(images)
    u = torch.randn(4, 2)
    prior = model.prior(model.context(images))

    by_hand = model.generator(images, model.context(images), prior.mean + prior.scale * u)
    assert_close(region.decode(u), by_hand)
    assert_close(region.decode(u), model.decode(images, u))
    assert_close(prior.scale, torch.full((4, 2), 0.5))


def test_encoding_is_the_recognition_mean_in_the_same_unit(linear_cvae: Any, images: torch.Tensor) -> None:
    model = linear_cvae(noise=1e-3)
    region = LatentBall(model, math.inf).at(images)
    u = torch.randn(4, 2)

    # With hardly any noise the posterior of a generated image is the latent it came from.
    assert_close(region.encode(region.decode(u)), u, atol=1e-3, rtol=0)


def test_training_the_original_does_not_change_the_set(images: torch.Tensor) -> None:
    model = SpatialCVAE(latent=3, height=8, width=8).train()
    images = torch.rand(2, 1, 8, 8)
    perturbations = LatentBall(model, 1.0)
    u = torch.ones(2, 3)
    before = perturbations.at(images).decode(u)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)

    assert_close(perturbations.at(images).decode(u), before, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in perturbations.model.parameters())
    assert not any(module.training for module in perturbations.model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training


def test_a_frozen_model_is_shared_not_copied(linear_cvae: Any) -> None:
    model = linear_cvae().requires_grad_(False)

    assert LatentBall(model, 1.0).model is model


def test_bank_draws_are_rows_of_the_bank_projected(linear_cvae: Any, generator: torch.Generator) -> None:
    bank = torch.tensor([[0.1, 0.2], [3.0, 4.0], [-0.5, 0.0]])
    images = torch.rand(200, 1, 2, 3)
    drawn = LatentBall(linear_cvae(), 1.0, bank=bank).at(images).sample(generator=generator)

    rows = torch.tensor([[0.1, 0.2], [0.6, 0.8], [-0.5, 0.0]])
    distance = (drawn[:, None] - rows).norm(dim=2)
    assert distance.amin(1).max() < 1e-6
    assert set(distance.argmin(1).tolist()) == {0, 1, 2}


def test_prior_draws_follow_the_normal_conditioned_on_the_ball(linear_cvae: Any, generator: torch.Generator) -> None:
    images = torch.rand(3000, 1, 2, 3)
    bank = torch.zeros(1, 2)
    norms = LatentBall(linear_cvae(), 1.5, bank=bank, draw="prior").at(images).sample(generator=generator).norm(dim=1)

    assert norms.max() <= 1.5
    share = np.exp(log_chi_cdf(norms.double().numpy(), 2) - log_chi_cdf(np.array(1.5), 2))
    assert stats.kstest(share, "uniform").pvalue > 0.01


def test_one_radius_per_image_and_some_of_the_images(linear_cvae: Any, images: torch.Tensor) -> None:
    perturbations = LatentBall(linear_cvae(), torch.tensor([0.0, 1.0, 2.0, math.inf]))
    region, rows = perturbations.at(images), torch.tensor([3, 1])
    far = 10 * torch.randn(4, 2)

    assert_close(region.project(far).norm(dim=1), torch.cat([torch.tensor([0.0, 1.0, 2.0]), far[3:].norm(dim=1)]))
    kept = region.select(rows)
    assert_close(kept.project(far[rows]), region.project(far)[rows])
    assert_close(kept.decode(far[rows]), region.decode(far)[rows])


def test_gradient_reaches_the_offsets_and_images_keep_their_type(linear_cvae: Any, images: torch.Tensor) -> None:
    region = LatentBall(linear_cvae(), 1.0).at(images.double())
    u = region.centre().requires_grad_()
    decoded = region.decode(u)
    decoded.square().sum().backward()

    assert decoded.dtype == u.dtype == torch.float64
    assert u.grad is not None
    assert u.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": -1.0}, "radius must be 0 or more"),
        ({"radius": math.nan}, "radius must be 0 or more"),
        ({"radius": 1.0, "draw": "bank"}, 'draw="bank" needs a bank'),
        ({"radius": 1.0, "draw": "elsewhere"}, "draw must be"),
        ({"radius": 1.0, "bank": torch.zeros(0, 2)}, "bank must hold encodings"),
        ({"radius": 1.0, "bank": torch.zeros(4, 3)}, "bank must hold encodings"),
        ({"radius": 1.0, "bank": torch.zeros(2)}, "bank must hold encodings"),
        ({"radius": 1.0, "bank": torch.full((4, 2), math.nan)}, "bank must hold finite encodings"),
    ],
)
def test_impossible_settings_are_refused(linear_cvae: Any, settings: dict[str, Any], message: str) -> None:
    # The type checker that watches the tests refuses an unknown draw before the package can.
    with pytest.raises((ValueError, TypeError), match=message.removesuffix(" must be")):
        LatentBall(linear_cvae(), **settings)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 1, 3, 2), torch.float32, r"images must have shape \[B, 1, 2, 3\]"),
        ((2, 3, 2, 3), torch.float32, "resize them"),
        ((2, 1, 2, 3), torch.uint8, r"images\.float\(\) / 255"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    linear_cvae: Any, shape: tuple[int, ...], dtype: torch.dtype, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LatentBall(linear_cvae(), 1.0).at(torch.zeros(shape, dtype=dtype))
    with pytest.raises(ValueError, match="images must lie within"):
        LatentBall(linear_cvae(), 1.0).at(torch.full((1, 1, 2, 3), 1.5))


@pytest.mark.parametrize("bank", [None, torch.randn(5, 2)])
@pytest.mark.parametrize("radius", [0.0, 1 / 3, math.inf])
def test_saving_and_loading_is_exact(linear_cvae: Any, tmp_path: Path, bank: Any, radius: float) -> None:
    saved = LatentBall(linear_cvae(widen=0.1), radius, bank=bank)
    loaded = LatentBall.load(saved.save(tmp_path / "set"))
    images, u = torch.rand(3, 1, 2, 3), torch.randn(3, 2)

    assert loaded.radius == radius
    assert loaded.draw == saved.draw
    assert (loaded.bank is None) == (bank is None)
    if bank is not None:
        assert torch.equal(loaded.bank, bank)
    assert torch.equal(loaded.at(images).decode(u), saved.at(images).decode(u))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_saving_replaces_a_set_and_leaves_nothing_else(linear_cvae: Any, tmp_path: Path) -> None:
    LatentBall(linear_cvae(), 1.0, bank=torch.randn(3, 2)).save(tmp_path / "set")
    LatentBall(linear_cvae(), 2.0).save(tmp_path / "set")

    assert LatentBall.load(tmp_path / "set").radius == 2.0
    assert LatentBall.load(tmp_path / "set").bank is None
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_failed_save_keeps_the_old_set(linear_cvae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LatentBall(linear_cvae(), 1.0).save(tmp_path / "set")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("perturbsets.sets.latent.json.dumps", fail)
    with pytest.raises(OSError, match="could not write"):
        LatentBall(linear_cvae(), 2.0).save(tmp_path / "set")
    monkeypatch.undo()

    assert LatentBall.load(tmp_path / "set").radius == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_one_radius_per_image_cannot_be_saved(linear_cvae: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="radius must be one number here, got 2, one per image: take one"):
        LatentBall(linear_cvae(), torch.ones(2)).save(tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["set.json", "config.json", "model.safetensors"])
def test_missing_files_are_named(linear_cvae: Any, tmp_path: Path, name: str) -> None:
    folder = LatentBall(linear_cvae(), 1.0).save(tmp_path / "set")
    (folder / name).unlink()

    with pytest.raises(FileNotFoundError, match=name):
        LatentBall.load(folder)


@pytest.mark.parametrize("name", ["set.json", "config.json", "model.safetensors", "bank.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", pickle.dumps({"bank": [1.0]}), b"[1, 2]", b"{}", b"null"])
def test_corrupted_and_foreign_files_are_refused(linear_cvae: Any, tmp_path: Path, name: str, content: bytes) -> None:
    folder = LatentBall(linear_cvae(), 1.0, bank=torch.randn(3, 2)).save(tmp_path / "set")
    (folder / name).write_bytes(content)

    with pytest.raises(ValueError, match=name):
        LatentBall.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "bank.safetensors"])
def test_truncated_weights_are_refused(linear_cvae: Any, tmp_path: Path, name: str) -> None:
    folder = LatentBall(linear_cvae(), 1.0, bank=torch.randn(3, 2)).save(tmp_path / "set")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ValueError, match=name):
        LatentBall.load(folder)


@pytest.mark.parametrize("change", [{"radius": "wide"}, {"radius": -1.0}, {"radius": None}, {"draw": "elsewhere"}])
def test_wrong_values_in_a_saved_set_are_refused(linear_cvae: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = LatentBall(linear_cvae(), 1.0).save(tmp_path / "set")
    about = json.loads((folder / "set.json").read_text())
    (folder / "set.json").write_text(json.dumps(about | change))

    # The type checker that watches the tests refuses an unknown draw before the package can.
    with pytest.raises((ValueError, TypeError), match=r"set\.json|radius must be|draw"):
        LatentBall.load(folder)


def test_a_bank_that_was_saved_must_be_there(linear_cvae: Any, tmp_path: Path) -> None:
    folder = LatentBall(linear_cvae(), 1.0, bank=torch.randn(3, 2)).save(tmp_path / "set")
    (folder / "bank.safetensors").unlink()

    with pytest.raises(ValueError, match="bank"):
        LatentBall.load(folder)
