from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.transforms.v2.functional import normalize

from perturbsets import Adversary, Normalized, PixelBall

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_input_is_normalised_as_torchvision_does() -> None:
    images = torch.rand(4, 3, 5, 5)
    assert_close(Normalized(nn.Identity(), MEAN, STD)(images), normalize(images, MEAN, STD))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_of_any_shape_keep_their_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out = Normalized(nn.Identity(), MEAN, STD)(torch.rand(shape, dtype=dtype))

    assert out.shape == shape
    assert out.dtype == dtype


def test_radii_stay_in_pixel_units() -> None:
    net = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), MEAN, STD)
    x = torch.rand(5, 3, 2, 2)
    found = Adversary(PixelBall("linf", 0.1))(net, x, net(x).argmax(1))

    assert 0.09 < (found.images - x).abs().max() <= 0.1 + 1e-6


def test_the_wrapper_adds_nothing_to_the_weights() -> None:
    inner = nn.Linear(3, 2)
    assert set(Normalized(inner, MEAN, STD).state_dict()) == {"model.weight", "model.bias"}


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5], [0.2, 0.2]), ([], []), ([0.5], [0.0]), ([0.5], [-1.0]), ([0.5], [float("nan")])]
)
def test_impossible_statistics_are_refused(mean: Sequence[float], std: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="mean and std must give one number per channel"):
        Normalized(nn.Identity(), mean, std)


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \[B, 3, ...\], a channel for each .* got \[2, 1, 4, 4\]"):
        Normalized(nn.Identity(), MEAN, STD)(torch.rand(2, 1, 4, 4))


def test_numbers_without_a_channel_are_refused_with_the_list_to_write() -> None:
    with pytest.raises(TypeError, match=r"one number per channel, got 0\.5 and 0\.25: write lists, \[0\.5\]"):
        Normalized(nn.Flatten(), 0.5, 0.25)
