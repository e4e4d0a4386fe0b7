from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from torchvision.transforms.v2.functional import gaussian_blur

from cvae.networks.blocks import blurred


@pytest.mark.parametrize("width", [0.3, 1.0, 2.5])
def test_far_from_the_border_it_is_the_gaussian_blur_of_torchvision(width: float) -> None:
    images = torch.zeros(2, 3, 48, 40)
    images[..., 20:28, 16:24] = torch.rand(2, 3, 8, 8)

    assert_close(blurred(images, width), gaussian_blur(images, [31, 31], [width, width]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("width", [0.1, 1.0, 100.0])
def test_constant_images_stay_as_they_are_up_to_the_border(width: float) -> None:
    for value in (0.0, 0.4, 1.0):
        images = torch.full((1, 1, 9, 14), value)
        assert_close(blurred(images, width), images)
        assert 0 <= blurred(images, width).min() <= blurred(images, width).max() <= 1


def test_a_wide_blur_of_an_image_is_its_mean() -> None:
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)

    assert_close(blurred(images, 1e4), images.mean((2, 3), keepdim=True).expand_as(images), atol=1e-6, rtol=0)


def test_autocast_and_half_precision_are_blurred_in_single() -> None:
    images = torch.rand(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = blurred(images, 1.0)

    assert inside.dtype == blurred(images.bfloat16(), 1.0).dtype == torch.float32
    assert_close(inside, blurred(images, 1.0), rtol=0, atol=0)
