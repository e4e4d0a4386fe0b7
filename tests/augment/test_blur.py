from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.testing import assert_close

from augment.corruptions import SETTINGS, at_severity
from augment.functional import defocus_blur, draw_seeds, gaussian_blur, glass_blur, motion_blur, zoom_blur
from augment.functional.blur import disk_kernel, sequential_copies

if TYPE_CHECKING:
    from tests.augment.conftest import Published

SEVERITIES = [1, 2, 3, 4, 5]
SHAPES = [(8, 8), (9, 31), (40, 24)]


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "zoom_blur"])
def test_even_blurs_are_the_published_programs(published: Published, name: str, severity: int) -> None:
    apart, change, equal = published.differences(at_severity(name, severity), f"{name}_{severity}")

    assert apart <= 0.005
    assert apart <= 0.005 * change
    assert equal >= 0.995


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_at_their_angles_is_the_published_programs(published: Published, severity: int) -> None:
    angle = torch.from_numpy(np.random.RandomState(0).uniform(-45, 45, 12))  # the program drew these
    setting = SETTINGS["cifar-c"]["motion_blur"][severity - 1]

    ours = (motion_blur(published.images / 255, **setting, angle=angle) * 255).floor()

    assert (ours - published.changed[f"motion_blur_{severity}"]).abs().mean() <= 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_with_their_draws_is_the_published_programs(published: Published, severity: int) -> None:
    setting = SETTINGS["cifar-c"]["glass_blur"][severity - 1]
    reach, passes = int(setting["distance"]), int(setting["passes"])
    drawn = np.random.RandomState(0)
    offsets = torch.zeros(12, passes, 2, 32, 32, dtype=torch.int64)
    for image in range(12):
        for turn in range(passes):
            for y in range(32 - reach, reach, -1):
                for x in range(32 - reach, reach, -1):
                    right, down = drawn.randint(-reach, reach, size=2)
                    offsets[image, turn, :, y, x] = torch.tensor([down, right])

    moved = (gaussian_blur(published.images / 255, setting["sigma"]) * 255).floor().flatten(2)
    for turn in range(passes):
        source = sequential_copies(offsets[:, turn], reach)
        moved = moved.gather(2, source[:, None].expand(-1, 3, -1))
    ours = (gaussian_blur(moved.view(12, 3, 32, 32) / 255, setting["sigma"]) * 255).floor()

    # Levels are divided by 255 and multiplied again: before truncation rounding decides about whole numbers.
    assert (ours - published.changed[f"glass_blur_{severity}"]).abs().mean() <= 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["glass_blur", "motion_blur"])
def test_random_blurs_are_as_strong_as_the_published_programs(published: Published, name: str, severity: int) -> None:
    ratio, shift = published.against_statistics(at_severity(name, severity), f"{name}_{severity}")

    assert abs(ratio - 1) < 0.02
    # Theirs truncates between the two blurs of glass as well, which makes it darker by half a level.
    assert abs(shift) < (0.6 if name == "glass_blur" else 0.25) / 255


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.4, 1.0, 2.5, 6.0])
def test_gaussian_blur_is_scipys(shape: tuple[int, int], sigma: float) -> None:
    image = torch.rand(shape, dtype=torch.float64)

    ours = gaussian_blur(image[None, None], sigma)[0, 0]

    theirs = ndimage.gaussian_filter(image.numpy(), sigma, mode="nearest", truncate=4.0)
    assert_close(ours, torch.from_numpy(theirs), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("setting", [(0.0, 0.1), (0.3, 0.4), (1.5, 0.1), (3.0, 0.1), (8.0, 0.5), (10.0, 0.5)])
def test_defocus_blur_is_opencvs(shape: tuple[int, int], setting: tuple[float, float]) -> None:
    radius, sigma = setting
    image = torch.rand(shape, dtype=torch.float64)

    ours = defocus_blur(image[None, None], radius, sigma)[0, 0]

    half, window = (8, 3) if radius <= 8 else (math.ceil(radius), 5)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float64)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (window, window), sigma)
    assert_close(disk_kernel(radius, sigma), torch.from_numpy(kernel), atol=1e-7, rtol=0)
    theirs = ndimage.correlate(image.numpy(), kernel, mode="mirror")
    assert_close(ours, torch.from_numpy(theirs).clamp(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (32, 32), (41, 23)])
@pytest.mark.parametrize("setting", [(1.0, 0.1), (1.06, 0.01), (1.25, 0.01), (1.3, 0.03), (2.0, 0.23)])
def test_zoom_blur_is_scipys(shape: tuple[int, int], setting: tuple[float, float]) -> None:
    largest, step = setting
    image = torch.rand(shape, dtype=torch.float64)

    ours = zoom_blur(image[None, None], largest, step)[0, 0]

    # A hair more than the factors, so that SciPy counts halves of pixels up, as arithmetic without rounding does.
    factors = [1 + step * number + 1e-12 for number in range(math.floor((largest - 1) / step + 1e-9) + 1)]
    theirs = np.mean([image.numpy(), *(_zoomed(image.numpy(), factor) for factor in factors)], axis=0)
    assert_close(ours, torch.from_numpy(theirs), atol=1e-12, rtol=0)


def _zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    for axis, length in enumerate(image.shape):
        taken = math.ceil(length / factor)
        first = (length - taken) // 2
        middle = image.take(range(first, first + taken), axis)
        scale = [1.0, 1.0]
        scale[axis] = factor
        enlarged = ndimage.zoom(middle, scale, order=1)
        first = (enlarged.shape[axis] - length) // 2
        image = enlarged.take(range(first, first + length), axis)
    return image


@pytest.mark.parametrize("shape", [(8, 8), (9, 31)])
def test_motion_blur_is_its_formula(shape: tuple[int, int]) -> None:
    images = torch.rand(3, 1, *shape, dtype=torch.float64)
    radius, sigma, angle = (2.0, 5.0, 10.0), (1.0, 2.5, 30.0), (0.0, -37.0, 205.0)

    ours = motion_blur(images, *(torch.tensor(each, dtype=torch.float64) for each in (radius, sigma, angle)))

    for image, blurred, r, s, a in zip(images, ours, radius, sigma, angle, strict=True):
        total, weights = torch.zeros(shape, dtype=torch.float64), 0.0
        for i in range(2 * int(r) + 1):
            right, down = (math.ceil(i * share(math.radians(a)) - 0.5) for share in (math.cos, math.sin))
            y = (torch.arange(shape[0]) + down).clamp(0, shape[0] - 1)
            x = (torch.arange(shape[1]) + right).clamp(0, shape[1] - 1)
            weight = math.exp(-(i**2) / (2 * s**2))
            total, weights = total + weight * image[0, y[:, None], x], weights + weight
        assert_close(blurred[0], total / weights, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(8, 8), (12, 29)])
@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_copies_are_those_of_a_loop_over_pixels(shape: tuple[int, int], reach: int) -> None:
    height, width = shape
    offsets = torch.randint(-reach, reach, (20, 2, height, width))
    offsets[0] = reach - 1  # the longest chains

    sources = sequential_copies(offsets, reach)

    for offset, source in zip(offsets, sources, strict=True):
        looped = torch.arange(height * width).view(height, width)
        for y in range(height - reach, reach, -1):
            for x in range(width - reach, reach, -1):
                looped[y, x] = looped[y + offset[0, y, x], x + offset[1, y, x]]
        assert torch.equal(source, looped.flatten())


def test_glass_blur_displaces_pixels_inside_no_farther_than_it_may() -> None:
    images = torch.arange(40 * 30).view(1, 1, 40, 30).expand(50, 1, 40, 30) / 1200

    moved = (glass_blur(images, 0.0, 1, 1, draw_seeds(50)) * 1200).round().long()

    change = moved - (images * 1200).round().long()
    assert sorted(change.unique().tolist()) == [-31, -30, -1, 0]
    inside = change[..., 2:, 2:]
    for offset in (-31, -30, -1, 0):
        share = (inside == offset).double().mean()
        assert abs(share - 0.25) < 4.5 * (0.25 * 0.75 / inside.numel()) ** 0.5
    assert (change[..., :2, :] == 0).all()
    assert (change[..., :, :2] == 0).all()


def test_blurs_have_gradients() -> None:
    images = torch.rand(2, 1, 8, 9, dtype=torch.float64, requires_grad=True)
    seeds = draw_seeds(2)
    for blur in (
        lambda x: gaussian_blur(x, torch.tensor([0.5, 1.5])),
        lambda x: defocus_blur(x, torch.tensor([1.5, 3.0]), 0.5),
        lambda x: motion_blur(x, 3, 2.0, torch.tensor([20.0, -70.0])),
        lambda x: zoom_blur(x, torch.tensor([1.1, 1.3]), 0.03),
        lambda x: glass_blur(x, 0.7, 2, 2, seeds),
    ):
        assert torch.autograd.gradcheck(lambda x, blur=blur: blur(x * 0.8 + 0.1), (images,), fast_mode=True)


def test_matrix_products_stay_exact_under_autocast() -> None:
    images = torch.rand(2, 3, 16, 16)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        blurred = gaussian_blur(images, 1.0)

    assert torch.equal(blurred, gaussian_blur(images, 1.0))


@pytest.mark.parametrize(
    ("blur", "settings", "message"),
    [
        (gaussian_blur, (-1.0,), "sigma must be finite and 0 or more"),
        (defocus_blur, (float("inf"), 0.1), "radius must be finite"),
        (motion_blur, (3, 0.0, 0.0), "sigma must be finite"),
        (motion_blur, (-1, 1.0, 0.0), "radius must be finite"),
        (motion_blur, (3, 1.0, float("nan")), "angle must be finite"),
        (zoom_blur, (0.9, 0.1), "largest must be finite and 1 or more"),
        (zoom_blur, (1.1, 0.0), "step must be finite"),
        (glass_blur, (1.0, -1, 1, draw_seeds(1)), "distance must be finite"),
        (glass_blur, (1.0, 1, -1, draw_seeds(1)), "passes must be finite"),
    ],
)
def test_bad_settings_are_refused(blur: object, settings: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blur(torch.rand(1, 3, 8, 8), *settings)  # type: ignore[operator]
