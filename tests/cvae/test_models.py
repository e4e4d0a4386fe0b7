from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from augment.functional import rotate_translate_scale
from cvae import CVAE, ConvCVAE, DiagonalGaussian, SpatialCVAE
from cvae.networks.blocks import downsampler
from cvae.networks.spatial import SpatialGenerator, sources
from tests.cvae.every_model import MODELS, Build, awake

every_model = pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)


@every_model
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 9, 14), (1, 8, 8)])
def test_any_size_and_channels(kind: Build, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    model = kind(channels=channels, height=height, width=width, latent=3)
    x, changed = torch.rand(2, 2, *shape).unbind()

    generated = model.decode(x, torch.randn(2, 3))
    terms = model(x, changed, torch.randn(2, 3))

    assert generated.shape == x.shape
    assert 0 <= generated.min() <= generated.max() <= 1
    assert terms.statistic.shape == terms.kl.shape == (2,)
    assert (terms.kl >= 0).all()


def test_spatial_generator_starts_as_the_identity() -> None:
    x = torch.rand(3, 1, 28, 28)

    assert_close(SpatialCVAE().decode(x, torch.randn(3, 16)), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 9, 14)])
def test_motions_turn_size_and_shift_as_the_change_of_that_name(shape: tuple[int, int, int]) -> None:
    x = torch.rand(3, *shape)
    angle, log_size, shift_x, shift_y = torch.tensor(
        [[0.0, 0.0, 0.2, -0.1], [0.7, -0.3, 0.0, 0.0], [-0.4, 0.2, 0.1, 0.15]]
    ).T
    motions = torch.stack([angle, 3 * (log_size / 3).atanh(), angle * 0, angle * 0, 2 * shift_x, 2 * shift_y], 1)

    moved = torch.nn.functional.grid_sample(x, sources(motions, *shape[1:]), align_corners=False)

    expected = rotate_translate_scale(x, torch.rad2deg(angle), log_size.exp(), shift_x, shift_y)
    assert_close(moved, expected, atol=1e-5, rtol=0)


def test_motions_reach_every_affine_map_near_the_identity() -> None:
    # Six numbers move three points in six directions: the derivative is invertible.
    corners = torch.autograd.functional.jacobian(
        lambda motions: sources(motions[None], 9, 14)[0][[0, 0, 8], [0, 13, 0]].flatten(), torch.zeros(6).double()
    )

    assert torch.linalg.cond(corners) < 20


def test_blur_tells_a_movement_where_to_go() -> None:
    # Where the dot lies now its new place is dark, to the left as to the right: only a blur overlaps with it.
    x = torch.zeros(1, 1, 16, 16)
    x[..., 7:9, 7:9] = 1
    model = SpatialCVAE(1, 16, 16, latent=2, grid=0)
    assert isinstance(model._generator, SpatialGenerator)
    shifts = model._generator.motions[-1].bias

    def slope(columns: int, blur: float) -> float:
        statistic = model(x, x.roll(columns, dims=3), torch.zeros(1, 2), blur).statistic
        return float(torch.autograd.grad(statistic.sum(), shifts)[0][4])  # type: ignore[arg-type]

    assert slope(4, 0.0) == slope(-4, 0.0)
    assert slope(4, 3.0) < 0 < slope(-4, 3.0)


def test_without_a_residual_the_background_stays_exactly_zero() -> None:
    model = SpatialCVAE(1, 20, 20, latent=3, grid=0)
    assert isinstance(model._generator, SpatialGenerator)
    torch.nn.init.normal_(model._generator.motions[-1].weight, std=0.05)  # type: ignore[union-attr, arg-type]
    x = torch.zeros(4, 1, 20, 20)
    x[..., 8:12, 8:12] = 0.7

    generated = model.decode(x, torch.randn(4, 3)).detach()

    assert not torch.allclose(generated, x, atol=0.05)
    assert (generated > 0).float().mean() < 0.25
    assert not any("residual" in name for name in model.state_dict())


@every_model
def test_prior_starts_as_the_standard_normal(kind: Build) -> None:
    model = kind()
    prior = model.prior(model.context(torch.rand(2, *model.shape)))

    assert_close(prior.mean, torch.zeros(2, model.latent))
    assert_close(prior.scale, torch.ones(2, model.latent))


@every_model
def test_encoding_is_the_posterior_mean_in_prior_standard_deviations(kind: Build) -> None:
    model = awake(kind())
    x, changed = torch.rand(2, 2, *model.shape).unbind()
    prior, posterior = model.prior(model.context(x)), model.recognition(x, changed)

    assert_close(model.encode(x, changed), (posterior.mean - prior.mean) / prior.log_scale.exp())


@every_model
def test_images_that_do_not_fit_are_refused_by_name(kind: Build) -> None:
    model = kind(1, 28, 28)

    with pytest.raises(ValueError, match=r"images must have shape \[B, 1, 28, 28\].*got \[2, 1, 32, 32\]"):
        model.decode(torch.rand(2, 1, 32, 32), torch.zeros(2, model.latent))
    with pytest.raises(ValueError, match="changed must have shape"):
        model.encode(torch.rand(2, 1, 28, 28), torch.rand(2, 3, 28, 28))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent": 0}, "latent must be at least 1"),
        ({"height": 4, "hidden": 0}, "height must be at least 8, got 4; hidden must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"likelihood": "laplace"}, "likelihood must be one of"),
    ],
)
@every_model
def test_impossible_sizes_are_refused(kind: Build, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


@pytest.mark.parametrize("kind", [SpatialCVAE, ConvCVAE])
def test_impossible_features_are_refused(kind: Build) -> None:
    with pytest.raises(ValueError, match="features must be at least 1, got -1"):
        kind(features=-1)


def test_a_residual_of_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"grid must be 0 \(no residual\) or more, got -1"):
        SpatialCVAE(grid=-1)


def test_downsampler_reports_its_output_size() -> None:
    network, flat = downsampler(2, (4, 8), (9, 14))

    assert network(torch.zeros(1, 2, 9, 14)).shape == (1, flat)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@every_model
def test_saved_model_gives_the_same_images_through_the_base_class(tmp_path: Path, kind: Build, likelihood: str) -> None:
    model = awake(kind(1, 28, 28, latent=5, hidden=32, likelihood=likelihood))
    model.likelihood.calibrate(torch.tensor(7.84), model.pixels)
    model.save_pretrained(tmp_path)
    x, u = torch.rand(2, 1, 28, 28), torch.randn(2, 5)

    loaded = CVAE.from_pretrained(tmp_path)

    assert type(loaded) is type(model)
    assert not loaded.training
    assert_close(loaded.decode(x, u), model.decode(x, u), rtol=0, atol=0)
    statistic = torch.tensor([3.0])
    assert_close(loaded.likelihood.log_prob(statistic, 784), model.likelihood.log_prob(statistic, 784))


def saved(folder: Path) -> Path:
    SpatialCVAE(latent=4, hidden=16).save_pretrained(folder)
    return folder


def test_missing_weights_name_what_is_there_and_that_pickles_are_not_read(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(FileNotFoundError, match=r"holds no model.safetensors.*Pickled weights .* never read"):
        CVAE.from_pretrained(folder)


def test_pickle_under_the_right_name_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")

    with pytest.raises(ValueError, match=r"corrupted, truncated or a\s+pickle"):
        CVAE.from_pretrained(folder)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(ValueError, match="not a whole safetensors file"):
        CVAE.from_pretrained(tmp_path)


def test_weights_of_another_size_are_refused_with_the_names(tmp_path: Path) -> None:
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "latent": 6}))

    with pytest.raises(ValueError, match=r"does not hold the weights of this SpatialCVAE: .*instead of"):
        CVAE.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("not json", "is not the JSON"),
        ("[]", "is not the JSON"),
        ('{"latent": 4}', "is not the JSON"),
        ('{"architecture": "os.system"}', "describes a 'os.system', expected one of"),
        ('{"architecture": "SpatialCVAE", "colour": 1}', "arguments that SpatialCVAE does not take"),
    ],
)
def test_foreign_configurations_are_refused(tmp_path: Path, config: str, message: str) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text(config)

    with pytest.raises(ValueError, match=message):
        CVAE.from_pretrained(tmp_path)


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    model = SpatialCVAE(latent=4, hidden=16)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    model.save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="holds NaN or infinity"):
        CVAE.from_pretrained(tmp_path)


def test_missing_folder_is_no_download(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a folder written by"):
        CVAE.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize("option", ["filename", "revison"])
def test_an_option_of_the_hub_is_known_before_it_is_passed_on(tmp_path: Path, option: str) -> None:
    folder = saved(tmp_path)

    with pytest.raises(TypeError, match=option):
        CVAE.from_pretrained(folder, **{option: "main"})


def test_prior_of_a_batch_is_a_distribution() -> None:
    assert isinstance(SpatialCVAE().prior(torch.zeros(1, 32)), DiagonalGaussian)


def test_pushing_to_the_hub_uploads_safetensors_and_json_that_load_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hub:
        """Stands for the hub: keeps what is uploaded in a folder."""

        def __init__(self, token: str | None = None) -> None:
            self.token = token

        def create_repo(self, repo_id: str, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, folder_path: Path, **_: Any) -> str:
            shutil.copytree(folder_path, tmp_path / "uploaded")
            return "https://hub/commit"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    model = SpatialCVAE(1, 8, 8, latent=2, hidden=4, features=4, grid=2)

    assert model.push_to_hub("owner/name") == "https://hub/commit"
    assert {file.name for file in (tmp_path / "uploaded").iterdir()} <= {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    loaded = CVAE.from_pretrained(tmp_path / "uploaded")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_failed_save_leaves_the_former_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpatialCVAE(1, 8, 8, latent=2, hidden=4, features=4, grid=2)
    model.save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="is full"):
        ConvCVAE(1, 8, 8, latent=2, hidden=4, features=4).save_pretrained(tmp_path)

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
