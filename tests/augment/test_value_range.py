"""What counts as rounding at the bounds, and advice that leads there."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms.v2 import InterpolationMode

from augment import Corruption
from augment.functional import gaussian_noise
from augment.value_range import ROUNDING, in_range

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


BILINEAR = InterpolationMode.BILINEAR


def perspective(image: Tensor, depth: int) -> Tensor:
    down, right = image.shape[-2] - 1, image.shape[-1] - 1
    corners = [[0, 0], [right, 0], [right, down], [0, down]]
    seen = [[depth, 2], [right - 3, 1], [right - 1, down - depth], [2, down - 4]]
    return F.perspective(image, corners, seen, interpolation=BILINEAR)


@pytest.mark.parametrize(
    "change",
    [
        lambda image, step: F.resize(image, [50 + step, 40 + step], antialias=True),
        lambda image, step: F.affine(image, 17.0 * step, [3, 2], 1.13, [5.0, 4.0], interpolation=BILINEAR),
        perspective,
        lambda image, step: F.gaussian_blur(image, [7, 7], [1 + step / 10] * 2),
    ],
)
def test_what_torchvision_makes_of_a_white_photograph_is_taken(change: Callable[[Tensor, int], Tensor]) -> None:
    images = [change(torch.ones(1, 97, 81), step) for step in range(12)]
    assert max(float(image.max()) for image in images) > 1  # by rounding

    for image in images:
        found = Corruption("contrast", 1)(image)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_units_in_the_last_place_are_clamped_and_more_is_refused(
    dtype: torch.dtype, bounds: tuple[float, float]
) -> None:
    unit = torch.finfo(dtype).eps * max(abs(bound) for bound in bounds)
    ends = torch.tensor(bounds, dtype=dtype)
    beyond = torch.tensor([-1.0, 1.0], dtype=dtype)
    given = ends + beyond * ROUNDING / 2 * unit
    before = given.clone()

    assert_close(in_range(given, bounds, normalized=""), ends, rtol=0, atol=0)
    assert_close(given, before, rtol=0, atol=0)  # which was not written to
    assert in_range(ends, bounds, normalized="") is ends
    for side in range(2):
        outside = ends.clone()
        outside[side] += beyond[side] * 2 * ROUNDING * unit
        with pytest.raises(ValueError, match=f"{'above' if side else 'below'} {bounds[side]:g}"):
            in_range(outside, bounds, normalized="")


def test_gradients_pass_through_what_was_clamped() -> None:
    values = torch.tensor([-1e-8, 0.5, 1 + 2**-23], requires_grad=True)

    (in_range(values, normalized="") * torch.arange(1.0, 4.0)).sum().backward()

    assert values.grad is not None
    assert values.grad.tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"must lie within \[0, 1\]"):
        in_range(torch.tensor([0.5, value]), normalized="")


@pytest.mark.parametrize(("bounds", "value"), [((0.0, math.inf), -5.0), ((-math.inf, 1.0), 5.0)])
def test_one_infinite_bound_leaves_the_other_strict(bounds: tuple[float, float], value: float) -> None:
    with pytest.raises(ValueError, match=r"5 below 0|4 above 1"):
        in_range(torch.tensor([0.5, value]), bounds, normalized="")
    assert in_range(torch.tensor([0.5, -value]), bounds, normalized="").tolist() == [0.5, -value]


def test_the_excess_is_printed() -> None:
    with pytest.raises(ValueError, match=r"got 0\.5 to 1\.0000238 \(2\.4e-05 above 1\)"):
        in_range(torch.tensor([0.5, 1.0000238]), normalized="")


@pytest.mark.parametrize(
    ("images", "advice", "followed"),
    [
        (torch.full((2, 3, 8, 8), 200.0), "`images / 255`", lambda images: images / 255),
        (torch.full((2, 3, 8, 8), 1.01), r"`images\.clamp\(0, 1\)`", lambda images: images.clamp(0, 1)),
        (torch.full((2, 3, 8, 8), -1.5), "before they are normalised", lambda images: images * 0.225 + 0.45),
    ],
)
def test_advice_leads_to_values_in_range(images: Tensor, advice: str, followed: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=advice):
        gaussian_noise(images, 0.1, torch.arange(2))

    assert gaussian_noise(followed(images), 0.1, torch.arange(2)).shape == images.shape
