from __future__ import annotations

import colorsys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from augment.corruptions import at_severity
from augment.functional import brightness, contrast, saturate
from augment.functional.colour import luminance

SEVERITIES = (1, 2, 3, 4, 5)


@pytest.fixture
def colours(generator: torch.Generator) -> Tensor:
    """Random colours, and those at which a formula may divide by zero."""
    images = torch.rand(4, 3, 8, 8, generator=generator, dtype=torch.float64)
    images[0] = images[0].round()  # corners of the cube: black, white, pure colours
    images[1] = images[1, :1]  # greys
    images[2] *= 1e-6
    return images


def through_hsv(images: Tensor, change: Any) -> Tensor:
    """Each pixel by itself through Python's own conversions."""
    pixels = [
        colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel)))
        for pixel in images.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    ]
    count, _, height, width = images.shape
    return torch.tensor(pixels, dtype=images.dtype).view(count, height, width, 3).permute(0, 3, 1, 2)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_is_that_of_the_published_program(published: Any, severity: int) -> None:
    corruption = at_severity("contrast", severity)
    _, _, equal = published.differences(corruption, f"contrast_{severity}")

    assert equal == 1


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["brightness", "saturate"])
def test_colours_are_those_of_the_published_program(published: Any, name: str, severity: int) -> None:
    apart, change, _ = published.differences(at_severity(name, severity), f"{name}_{severity}")

    # What is left are values that lie on a level and are truncated to either side.
    assert apart < 0.15
    assert apart < 0.02 * change


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.2, 0.7])
def test_brightness_is_that_of_hsv(colours: Tensor, shift: float) -> None:
    expected = through_hsv(colours, lambda h, s, v: (h, s, min(max(v + shift, 0.0), 1.0)))

    assert_close(brightness(colours, shift), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0.0), (1.0, 0.0), (2.5, 0.2), (0.0, 0.0), (0.5, 1.0)])
def test_saturation_is_that_of_hsv(colours: Tensor, factor: float, shift: float) -> None:
    expected = through_hsv(colours, lambda h, s, v: (h, min(max(factor * s + shift, 0.0), 1.0), v))

    assert_close(saturate(colours, factor, shift), expected, rtol=0, atol=1e-12)


def test_contrast_keeps_each_channels_mean(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 9, 12, generator=generator, dtype=torch.float64)
    factors = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    changed = contrast(images, factors)

    assert_close(changed.mean((2, 3)), images.mean((2, 3)))
    assert_close(changed.std((2, 3)), images.std((2, 3)) * factors[:, None])
    assert_close(changed[2], images[2])


def test_grey_images_have_no_saturation(generator: torch.Generator) -> None:
    grey = torch.rand(2, 1, 8, 8, generator=generator)

    assert torch.equal(saturate(grey, 2.5, 0.2), grey)
    assert_close(brightness(grey, 0.2), (grey + 0.2).clamp(max=1))
    assert torch.equal(luminance(grey), grey)


def test_luminance_of_grey_is_grey(generator: torch.Generator) -> None:
    grey = torch.rand(2, 1, 8, 8, generator=generator)

    assert_close(luminance(grey.expand(2, 3, 8, 8)), grey)


def test_each_image_has_its_own_amount(colours: Tensor) -> None:
    amounts = torch.tensor([0.0, 0.1, 0.2, 0.3], dtype=torch.float64)
    for function in (brightness, contrast, lambda x, a: saturate(x, 1 + a, a)):
        alone = torch.cat([function(image[None], amount[None]) for image, amount in zip(colours, amounts, strict=True)])
        assert_close(function(colours, amounts), alone, rtol=0, atol=0)


@pytest.mark.parametrize("change", [lambda x: brightness(x, 0.1), lambda x: saturate(x, 0.5, 0.1)])
def test_gradients_are_finite_also_at_black_and_grey(colours: Tensor, change: Any) -> None:
    images = colours.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(change(images).sum(), images)

    assert gradient.isfinite().all()
    inner = torch.rand(1, 3, 8, 8, dtype=torch.float64).mul(0.5).add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(change, inner)


def test_amounts_out_of_range_are_refused() -> None:
    images = torch.rand(2, 1, 8, 8)
    for call, message in (
        (lambda: brightness(images, 1.5), "shift must be finite and from -1 to 1, got 1.5"),
        (lambda: contrast(images, torch.tensor([0.5, -1.0])), "factor must be finite and 0 or more"),
        (lambda: saturate(images, float("nan"), 0.0), "factor must be finite"),
        (lambda: saturate(images, 1.0, -2.0), "shift must be finite and from -1 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
