from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import TensorDataset
from torchvision.transforms.v2.functional import to_dtype

from cvae import CVAE, ConvCVAE, FitSettings, SpatialCVAE, fit
from cvae.networks.blocks import blurred
from tests.cvae.every_model import MODELS, Build

SHORT = FitSettings(steps=10, batch=8, validate_every=5)


def pairs(count: int, size: int = 8, seed: int = 0) -> TensorDataset:
    """Random images and the same moved one column to the right."""
    clean = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(clean, clean.roll(1, dims=3))


def small(likelihood: str = "gaussian") -> SpatialCVAE:
    torch.manual_seed(0)
    return SpatialCVAE(1, 8, 8, latent=2, hidden=8, features=4, grid=2, likelihood=likelihood)


def weights(model: CVAE) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_fit_improves_the_score_on_validation_pairs(likelihood: str) -> None:
    model = small(likelihood)
    settings = FitSettings(steps=30, batch=16, learning_rate=0.01, validate_every=10)
    records = fit(model, pairs(64), pairs(16, seed=1), settings)
    scores = [record["score"] for record in records if "score" in record]

    assert len(scores) == 3
    assert scores[-1] < scores[0]
    assert not model.training


def test_first_step_is_known() -> None:
    # Before the first step the generator is the identity, so the squared error is that of x and x̃, and the scale
    # in closed form makes the reconstruction term ln(scale) + (1 + ln 2π) / 2 per pixel. The divergence weighs 0.
    data = pairs(8)
    clean, changed = data.tensors
    records = fit(small(), data, data, FitSettings(steps=1, batch=8))
    scale = (clean - changed).square().mean().sqrt()

    expected = scale.log() + 0.5 * (1 + math.log(2 * math.pi))
    assert records[0]["scale"] == pytest.approx(float(scale), rel=1e-5)
    assert records[0]["reconstruction"] == pytest.approx(float(expected), rel=1e-4)
    assert records[0]["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_scale_is_calibrated_on_validation_pairs() -> None:
    model, held_out = small(), pairs(20, seed=1)
    records = fit(model, pairs(32), held_out, SHORT)
    best = min((record for record in records if "score" in record), key=lambda record: record["score"])
    pixels = model.pixels

    assert float(model.likelihood.scale) == pytest.approx(best["validation_scale"], rel=1e-6)
    assert best["validation_scale"] == pytest.approx(math.sqrt(best["validation_error"]), rel=1e-5)
    # The score is the negative bound per pixel; at the calibrated scale the error term is exactly one half.
    normaliser = math.log(best["validation_scale"]) + 0.5 * math.log(2 * math.pi)
    assert best["score"] == pytest.approx(0.5 + normaliser + best["validation_kl"], rel=1e-5)
    assert pixels == 64


def test_best_weights_on_validation_pairs_are_left() -> None:
    held_out = pairs(16, seed=1)
    settings = FitSettings(steps=20, batch=8, validate_every=2, learning_rate=0.3, clip=math.inf)
    model = small()
    records = fit(model, pairs(16), held_out, settings)
    scored = [record for record in records if "score" in record]
    best = min(scored, key=lambda record: record["score"])

    assert best["step"] < scored[-1]["step"], "the last is the best: the learning rate is too small for this test"
    assert float(model.likelihood.scale) == pytest.approx(best["validation_scale"], rel=1e-6)


def test_beta_rises_linearly_to_its_value() -> None:
    settings = FitSettings(beta=2.0, beta_warmup=0.5)

    assert [settings.beta_at(done) for done in (0.0, 0.25, 0.5, 0.9)] == [0.0, 1.0, 2.0, 2.0]
    assert FitSettings(beta=2.0, beta_warmup=0.0).beta_at(0.0) == 2.0
    assert FitSettings(beta=2.0, beta_warmup=1.0).beta_at(0.5) == 1.0


def test_loss_weighs_the_divergence_by_beta() -> None:
    settings = FitSettings(steps=20, batch=8, validate_every=1, beta=3.0, beta_warmup=0.5)
    records = [record for record in fit(small(), pairs(16), pairs(8, seed=1), settings) if "loss" in record]

    assert len(records) == 20
    for record in records:
        beta = 3.0 * min(1.0, (record["step"] - 1) / 20 / 0.5)
        assert record["loss"] == pytest.approx(record["reconstruction"] + beta * record["kl"], rel=1e-4, abs=1e-5)


def test_blur_falls_by_the_same_factor_and_is_then_left_out() -> None:
    settings = FitSettings(blur=4.8, blur_until=0.5)
    widths = [settings.blur_at(done) for done in (0.0, 0.125, 0.25, 0.375, 0.4999, 0.5, 0.9)]

    assert widths[:4] == pytest.approx([4.8, 2.4, 1.2, 0.6])
    assert widths[4] == pytest.approx(0.3, rel=1e-2)
    assert widths[5:] == [0.0, 0.0]
    assert FitSettings().blur_at(0.0) == 0.0


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_first_step_sees_blurred_images(likelihood: str) -> None:
    data = pairs(8)
    clean, changed = (blurred(images, 1.5) for images in data.tensors)
    records = fit(small(likelihood), data, data, FitSettings(steps=1, batch=8, blur=1.5))

    if likelihood == "gaussian":
        assert records[0]["scale"] == pytest.approx(float((clean - changed).square().mean().sqrt()), rel=1e-5)
    else:
        expected = torch.nn.functional.binary_cross_entropy(clean, changed)
        assert records[0]["reconstruction"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_impossible_weight_of_the_divergence_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=f"beta must be above 0, got {beta}"):
        FitSettings(beta=beta)


def test_all_faults_are_listed_with_those_of_the_loop() -> None:
    with pytest.raises(ValueError, match="steps must be") as caught:
        FitSettings(steps=0, beta=0.0, beta_warmup=1.5, blur=-1.0, blur_until=0.0)

    assert str(caught.value) == (
        "steps must be at least 1, got 0; beta must be above 0, got 0.0; beta_warmup must be a share in [0, 1], "
        "got 1.5; blur must be 0 or more, got -1.0; blur_until must be a share in (0, 1], got 0.0"
    )


@pytest.mark.parametrize(
    ("train_size", "validation_size", "message"),
    [
        (12, 8, r"clean images of train_pairs must have shape \[B, 1, 8, 8\].*got \[1, 1, 12, 12\].*resize them"),
        (8, 12, r"clean images of validation_pairs must have shape"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(train_size: int, validation_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(small(), pairs(8, train_size), pairs(8, validation_size), SHORT)


def test_changed_images_that_do_not_fit_are_refused_by_name() -> None:
    wrong = TensorDataset(torch.rand(8, 1, 8, 8), torch.rand(8, 1, 9, 9))

    with pytest.raises(ValueError, match="changed images of train_pairs must have shape"):
        fit(small(), wrong, pairs(8), SHORT)


def test_bytes_and_floats_give_the_same_fit() -> None:
    floats = pairs(16)
    stored = TensorDataset(*((255 * images).round().byte() for images in floats.tensors))
    rounded = TensorDataset(*(to_dtype(images, torch.float32, scale=True) for images in stored.tensors))
    first, second = small(), small()

    assert fit(first, stored, stored, SHORT) == fit(second, rounded, rounded, SHORT)
    assert_close(weights(first), weights(second), rtol=0, atol=0)


@pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)
def test_stopped_fit_continues_to_the_same_numbers(tmp_path: Path, kind: Build) -> None:
    def fresh(seed: int) -> CVAE:
        torch.manual_seed(seed)
        return kind(1, 8, 8, latent=2, hidden=8)

    settings = FitSettings(steps=15, batch=6, validate_every=5, blur=2.0)
    data, held_out = pairs(20), pairs(8, seed=1)
    whole, stopped, resumed = fresh(0), fresh(0), fresh(1)
    expected = fit(whole, data, held_out, settings, folder=tmp_path / "whole")

    calls = []

    def stop(*arguments: Tensor) -> None:
        calls.append(arguments)
        if len(calls) > 8:
            raise KeyboardInterrupt

    handle = stopped.register_forward_pre_hook(lambda module, arguments: stop(*arguments))
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, data, held_out, settings, folder=tmp_path / "cut")
    handle.remove()

    assert fit(resumed, data, held_out, settings, folder=tmp_path / "cut") == expected
    assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_checkpoint_of_other_settings_or_another_model_is_refused(tmp_path: Path) -> None:
    fit(small(), pairs(16), pairs(8), SHORT, folder=tmp_path)
    longer = FitSettings(steps=12, batch=8, validate_every=5)
    torch.manual_seed(0)
    another = ConvCVAE(1, 8, 8, latent=2, hidden=8, features=4)

    with pytest.raises(ValueError, match=r"(?s)other settings:.*steps=10.*steps=12"):
        fit(small(), pairs(16), pairs(8), longer, folder=tmp_path)
    with pytest.raises(ValueError, match=r"(?s)other settings:.*SpatialCVAE.*ConvCVAE"):
        fit(another, pairs(16), pairs(8), SHORT, folder=tmp_path)


def test_checkpoint_cut_short_is_refused_with_the_fix(tmp_path: Path) -> None:
    fit(small(), pairs(16), pairs(8), SHORT, folder=tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is no whole checkpoint.*delete it"):
        fit(small(), pairs(16), pairs(8), SHORT, folder=tmp_path)


def test_folder_holds_no_pickle(tmp_path: Path) -> None:
    fit(small(), pairs(16), pairs(8), SHORT, folder=tmp_path)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]


def test_loading_ahead_changes_no_number() -> None:
    first, second = small(), small()
    ahead = FitSettings(steps=10, batch=8, validate_every=5, workers=2)

    assert fit(first, pairs(16), pairs(8), SHORT) == fit(second, pairs(16), pairs(8), ahead)
    assert_close(weights(first), weights(second), rtol=0, atol=0)


def test_nan_in_pairs_is_named() -> None:
    broken = TensorDataset(torch.full((8, 1, 8, 8), math.nan), torch.rand(8, 1, 8, 8))

    with pytest.raises(FloatingPointError, match="the batch itself holds NaN or infinity; check the data"):
        fit(small(), broken, pairs(8), SHORT)
