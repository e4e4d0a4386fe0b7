from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from augment import SpatialChange
from perturbsets import SpatialBox


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8)


def test_zero_offsets_change_nothing() -> None:
    x = images()
    region = SpatialBox().at(x)

    assert region.size == 4
    assert_close(region.decode(region.centre()), x, atol=2e-6, rtol=0)


def test_ends_of_the_offsets_are_ends_of_the_ranges() -> None:
    change = SpatialChange(rotation=30.0, scale=(0.8, 1.5), shift=0.1)
    region = SpatialBox(change).at(images(1))

    assert_close(region.parameters(-torch.ones(1, 4))[0], torch.tensor(change.low))
    assert_close(region.parameters(torch.ones(1, 4))[0], torch.tensor(change.high))
    assert_close(region.parameters(torch.zeros(1, 4))[0], torch.tensor(change.identity))


def test_decoding_is_the_change_at_the_parameters() -> None:
    x, u = images(), 2 * torch.rand(3, 4) - 1
    change = SpatialChange(rotation=30.0, scale=(0.8, 1.5), shift=0.1)
    region = SpatialBox(change).at(x)

    assert_close(region.decode(u), change.apply(x, region.parameters(u)))


@pytest.mark.parametrize("radius", [1.0, 0.5])
def test_draws_are_uniform_in_the_ranges_shrunk_by_the_radius(radius: float, generator: torch.Generator) -> None:
    change = SpatialChange(rotation=30.0, scale=(0.8, 1.5), shift=0.1)
    region = SpatialBox(change, radius=radius).at(images(2000))
    drawn = region.parameters(region.sample(generator=generator)).double()

    for column, (low, same, high) in enumerate(zip(change.low, change.identity, change.high, strict=True)):
        smallest, largest = same + radius * (low - same), same + radius * (high - same)
        values = drawn[:, column].numpy()
        assert smallest - 1e-5 <= values.min() <= values.max() <= largest + 1e-5
        assert stats.kstest(values, stats.uniform(smallest, largest - smallest).cdf).pvalue > 0.01


def test_ranges_without_width_are_no_trouble(generator: torch.Generator) -> None:
    change = SpatialChange(rotation=0.0, scale=(1.0, 1.2), shift=0.0)
    region = SpatialBox(change).at(images())
    parameters = region.parameters(region.sample(generator=generator))

    assert_close(parameters[:, [0, 2, 3]], torch.zeros(3, 3))
    assert ((parameters[:, 1] >= 1) & (parameters[:, 1] <= 1.2 + 1e-6)).all()


def test_some_images_keep_their_own_radius(generator: torch.Generator) -> None:
    x, rows = images(), torch.tensor([2, 0])
    region = SpatialBox(radius=torch.tensor([0.0, 0.5, 1.0])).at(x)
    kept = region.select(rows)

    assert_close(kept.images, x[rows])
    assert_close(kept.project(torch.full((2, 4), 9.0)), torch.tensor([[1.0], [0.0]]).expand(2, 4))
    assert_close(region.sample(generator=generator)[0], torch.zeros(4))


@pytest.mark.parametrize(("shear", "size"), [(0.0, 4), (20.0, 5)])
def test_gradient_reaches_every_parameter(shear: float, size: int) -> None:
    region = SpatialBox(SpatialChange(shear=shear)).at(images())
    assert region.size == size
    u = region.centre().requires_grad_()
    (region.decode(u) * torch.rand(3, 1, 8, 8)).sum().backward()

    assert u.grad is not None
    assert (u.grad.abs() > 0).all()


@pytest.mark.parametrize("radius", [-0.1, 1.1, math.nan, math.inf, torch.tensor([0.5, 2.0])])
def test_radii_outside_the_shares_are_refused(radius: Any) -> None:
    with pytest.raises(ValueError, match=r"radius must be within \[0, 1\]"):
        SpatialBox(radius=radius)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.full((1, 1, 4, 4), 1.5), "images must lie within"),
        (torch.full((1, 1, 4, 4), math.nan), "images must lie within"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), r"images\.float\(\) / 255"),
    ],
)
def test_images_that_do_not_fit_are_refused(given: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpatialBox().at(given)
