from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor
from torch.testing import assert_close

from augment import Digits, SpatialChange
from perturbsets import SetQuality, SpatialBox
from perturbsets.criteria import InceptionFeatures, RandomFeatures, frechet_distance, precision_recall


def normal(count: int, mean: Tensor, root: Tensor, generator: torch.Generator) -> Tensor:
    """Points whose sample moments are exactly the mean and root rootᵀ."""
    points = torch.randn(count, len(mean), dtype=torch.float64, generator=generator)
    points = points - points.mean(0)
    covariance = points.T @ points / (count - 1)
    white = points @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    return mean + white @ root.T


def test_distance_of_commuting_covariances_has_a_closed_form(generator: torch.Generator) -> None:
    a, b = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 1.0, 0.1]).double()
    shift = torch.tensor([1.0, -2.0, 0.5]).double()
    first, second = normal(50, 0 * shift, a.diag(), generator), normal(70, shift, b.diag(), generator)

    # Diagonal: each axis adds the squared difference of means and of standard deviations.
    expected = shift.square().sum() + (a - b).square().sum()
    assert_close(frechet_distance(first, second), float(expected), rtol=1e-9, atol=0)


@pytest.mark.parametrize("counts", [(400, 300), (20, 30)])
def test_distance_agrees_with_the_root_of_the_product(counts: tuple[int, int], generator: torch.Generator) -> None:
    mixed = torch.randn(24, 24, generator=generator).double()
    first = torch.randn(counts[0], 24, generator=generator).double()
    second = torch.randn(counts[1], 24, generator=generator).double() @ mixed / 4 + 0.3
    covariances = np.cov(first.T.numpy()), np.cov(second.T.numpy())

    # As pytorch-fid computes it, whose own function stopped with the scipy that dropped an argument of sqrtm.
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    expected = (first.mean(0) - second.mean(0)).square().sum().item()
    expected += np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real
    # Fewer images than features: the root of a singular matrix keeps about half of the digits.
    assert_close(frechet_distance(first, second), float(expected), rtol=1e-4 if counts[0] < 24 else 1e-8, atol=0)


def test_distance_to_itself_is_zero_also_where_covariances_are_singular(generator: torch.Generator) -> None:
    features = torch.randn(10, 40, generator=generator)

    assert frechet_distance(features, features) < 1e-6
    assert frechet_distance(torch.ones(5, 3), torch.ones(4, 3)) == 0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (torch.rand(1, 3), torch.rand(4, 3), "at least 2 rows, got 1 and 4"),
        (torch.rand(4, 2), torch.rand(4, 3), "equally many, got 2 and 3"),
        (torch.full((4, 3), float("nan")), torch.rand(4, 3), "finite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(first: Tensor, second: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)


@pytest.mark.parametrize("neighbours", [1, 4])
def test_precision_and_recall_agree_with_the_definition_written_out(
    neighbours: int, generator: torch.Generator
) -> None:
    real = torch.randn(40, 3, generator=generator)
    samples = 0.5 * torch.randn(30, 3, generator=generator) + 0.5

    def inside(points: Tensor, centres: Tensor) -> list[bool]:
        found = []
        for point in points:
            reach = [(centre - centres).norm(dim=1).sort().values[neighbours] for centre in centres]
            found.append(any((point - centre).norm() <= r for centre, r in zip(centres, reach, strict=True)))
        return found

    result = precision_recall(real, samples, neighbours=neighbours)

    assert result.precise.tolist() == inside(samples, real)
    assert result.recalled.tolist() == inside(real, samples)


def test_precision_and_recall_tell_a_narrow_set_from_a_wide_one(generator: torch.Generator) -> None:
    real = torch.randn(500, 4, generator=generator)
    narrow = precision_recall(real, 0.2 * torch.randn(500, 4, generator=generator))
    wide = precision_recall(real, 4 * torch.randn(500, 4, generator=generator))

    assert narrow.precise.float().mean() > 0.95
    assert narrow.recalled.float().mean() < 0.3
    assert wide.precise.float().mean() < 0.3
    assert wide.recalled.float().mean() > 0.9


def test_too_many_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="below the number of images, got 5 for 5 real images and 9 samples"):
        precision_recall(torch.rand(5, 2), torch.rand(9, 2), neighbours=5)


def test_random_features_depend_on_the_seed_alone_and_image_by_image() -> None:
    images = torch.rand(6, 3, 20, 24)
    features = RandomFeatures(seed=3)(images)

    assert_close(RandomFeatures(seed=3)(images[2:3]), features[2:3])
    assert not torch.allclose(RandomFeatures(seed=4)(images), features)
    assert RandomFeatures()(images[:, :1]).shape == (6, 160)


def test_inception_features_are_those_of_pytorch_fid(tmp_path: Path) -> None:
    from unittest import mock

    import safetensors.torch
    from pytorch_fid import inception

    torch.manual_seed(0)
    blank = inception._inception_v3
    with mock.patch.object(inception, "load_state_dict_from_url", side_effect=RuntimeError("no network")):
        with pytest.raises(OSError, match=r"pytorch-fid's InceptionV3.*no network.*download https"):
            InceptionFeatures()(torch.rand(1, 3, 16, 16))
        network = blank(num_classes=1008, aux_logits=False, weights=None)
    for name, kind, arguments in (
        ("Mixed_5b", "A", {"in_channels": 192, "pool_features": 32}),
        ("Mixed_5c", "A", {"in_channels": 256, "pool_features": 64}),
        ("Mixed_5d", "A", {"in_channels": 288, "pool_features": 64}),
        ("Mixed_6b", "C", {"in_channels": 768, "channels_7x7": 128}),
        ("Mixed_6c", "C", {"in_channels": 768, "channels_7x7": 160}),
        ("Mixed_6d", "C", {"in_channels": 768, "channels_7x7": 160}),
        ("Mixed_6e", "C", {"in_channels": 768, "channels_7x7": 192}),
        ("Mixed_7b", "E_1", {"in_channels": 1280}),
        ("Mixed_7c", "E_2", {"in_channels": 2048}),
    ):
        setattr(network, name, getattr(inception, f"FIDInception{kind}")(**arguments))
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "inception.safetensors")
    torch.save(tensors, tmp_path / "inception.pth")
    images = torch.rand(3, 3, 32, 32)

    with mock.patch.object(inception, "load_state_dict_from_url", return_value=tensors):
        theirs = inception.InceptionV3().eval()(images)[0][:, :, 0, 0]

    for name in ("inception.safetensors", "inception.pth"):
        assert_close(InceptionFeatures(str(tmp_path / name), batch=2)(images), theirs)
    assert InceptionFeatures(str(tmp_path / "inception.pth"))(images[:1, :1]).shape == (1, 2048)


def test_missing_inception_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"weights must be a file.*none\.pth"):
        InceptionFeatures(str(tmp_path / "none.pth"))(torch.rand(1, 3, 16, 16))


def spatial_pairs(memory_pairs: Any, change: SpatialChange) -> Any:
    clean = Digits("test").images
    source = torch.arange(len(clean))
    return memory_pairs(clean, change.apply(clean, change.draw(len(clean))), source)


def test_the_true_set_comes_near_the_floor_and_a_wrong_one_does_not(
    memory_pairs: Any, generator: torch.Generator
) -> None:
    change = SpatialChange(rotation=45.0, shift=0.1)
    pairs = spatial_pairs(memory_pairs, change)

    true = SetQuality()(SpatialBox(change), pairs, generator=generator).summary()
    identity = SpatialChange(rotation=0.0, scale=(1.0, 1.0), shift=0.0)
    still = SetQuality()(SpatialBox(identity), pairs, generator=generator).summary()

    distances = true["frechet"]
    assert distances["samples"] < 1.5 * distances["real"]
    assert still["frechet"]["samples"] > 2 * still["frechet"]["real"]
    assert still["frechet"]["samples"] == pytest.approx(still["frechet"]["clean"], rel=1e-4)
    assert true["precision"]["mean"] > 0.6
    assert true["recall"]["mean"] > still["recall"]["mean"]
    assert true["images"] + true["reference"] == 300


def test_halves_show_the_same_sources_where_these_have_several_pairs(memory_pairs: Any) -> None:
    clean = torch.rand(40, 1, 8, 8)
    result = SetQuality(lambda images: images.flatten(1)[:, :3])(
        SpatialBox(), memory_pairs(clean, clean, torch.arange(40) % 10)
    )

    assert sorted(result.sample_source.tolist()) == sorted(list(range(10)) * 2)
    assert sorted(result.reference_source.tolist()) == sorted(list(range(10)) * 2)
