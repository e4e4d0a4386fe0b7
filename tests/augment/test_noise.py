from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from augment.corruptions import at_severity
from augment.functional import draw_seeds, gaussian_noise, impulse_noise, shot_noise, speckle_noise
from augment.functional.counter import normal
from augment.functional.noise import LARGE, poisson_quantile

if TYPE_CHECKING:
    from tests.augment.conftest import Published

SMALL, GREAT = (0.0, 1e-3, 0.1, 1.0, 3.0, 7.0, 9.99), (LARGE, 10.3, 15.0, 30.0, 100.0, 500.0)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"])
def test_noise_is_as_strong_as_the_published_programs(published: Published, name: str, severity: int) -> None:
    ratio, shift = published.against_statistics(at_severity(name, severity), f"{name}_{severity}")

    assert abs(ratio - 1) < 0.015
    assert abs(shift) < 0.1 / 255


@pytest.mark.parametrize("rate", SMALL)
def test_small_poisson_counts_are_the_quantiles(rate: float) -> None:
    shares = (np.arange(20_000) + 0.5) / 20_000
    normals = torch.from_numpy(stats.norm.ppf(shares)).float()

    counts = poisson_quantile(torch.full_like(normals, rate), normals)

    assert_close(counts.double(), torch.from_numpy(stats.poisson.ppf(stats.norm.cdf(normals.double()), rate)))


@pytest.mark.parametrize("rate", GREAT)
def test_great_poisson_counts_are_rarely_off_and_then_by_one(rate: float) -> None:
    shares = (np.arange(500_000) + 0.5) / 500_000
    normals = torch.from_numpy(stats.norm.ppf(shares)).float()

    counts = poisson_quantile(torch.full_like(normals, rate), normals).double()

    off = (counts - torch.from_numpy(stats.poisson.ppf(shares, rate))).abs()
    assert off.max() <= 1
    assert off.mean() < 2e-4


@pytest.mark.parametrize("rate", [0.02, 0.5, 3.0, 9.99, LARGE, 12.0, 40.0, 500.0])
def test_poisson_draws_have_poisson_frequencies(rate: float) -> None:
    draws = normal(torch.arange(100), 4000, "a test")
    counts = poisson_quantile(torch.full_like(draws, rate), draws).flatten().long().numpy()

    edges = np.unique(stats.poisson.ppf(np.linspace(0.001, 0.999, 40), rate))
    expected = np.diff(np.concatenate([[0], stats.poisson.cdf(edges, rate), [1]])) * counts.size
    seen = np.bincount(np.searchsorted(edges, counts), minlength=len(expected))
    keep = expected > 5
    statistic = ((seen - expected)[keep] ** 2 / expected[keep]).sum()

    assert stats.chi2.sf(statistic, keep.sum() - 1) > 1e-3


def test_shot_noise_counts_photons() -> None:
    images = torch.linspace(0.1, 0.7, 64 * 48).reshape(1, 1, 64, 48).expand(200, 1, 64, 48)

    counts = shot_noise(images, 50.0, draw_seeds(200)) * 50

    assert_close(counts, counts.round(), atol=1e-4, rtol=0)
    assert_close(counts.mean(), images.mean() * 50, rtol=0.002, atol=0)
    assert_close((counts - images * 50).square().mean(), images.mean() * 50, rtol=0.01, atol=0)


def test_impulse_noise_loses_its_share_half_to_black_and_half_to_white() -> None:
    images = torch.full((100, 3, 32, 32), 0.5)
    amount = torch.linspace(0.0, 1.0, 100)

    noisy = impulse_noise(images, amount, draw_seeds(100))

    assert sorted(noisy.unique().tolist()) == [0.0, 0.5, 1.0]
    assert (noisy[0] == 0.5).all()
    assert (noisy[-1] != 0.5).all()
    for value in (0, 1):
        seen = (noisy == value).flatten(1).sum(1).double()
        deviation = (3072 * amount / 2 * (1 - amount / 2)).sqrt()
        assert ((seen - 3072 * amount / 2).abs() <= 4.5 * deviation).all()


def test_normal_noise_is_normal_and_in_proportion_for_speckle() -> None:
    images = torch.linspace(0.3, 0.6, 20).view(-1, 1, 1, 1).expand(20, 3, 32, 32)
    for noise, unit in ((gaussian_noise, torch.ones(20)), (speckle_noise, images[:, 0, 0, 0])):
        size = noise(images, 0.05, draw_seeds(20)).sub(images).flatten(1) / (0.05 * unit[:, None])

        assert stats.kstest(size.flatten().numpy(), "norm").pvalue > 1e-3
    black = torch.zeros(2, 1, 8, 8)
    assert_close(speckle_noise(black, 0.6, draw_seeds(2)), black)


def test_gradients_take_the_noise_as_given() -> None:
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    seeds = draw_seeds(4)
    for noise, setting in ((gaussian_noise, 0.1), (shot_noise, 60.0), (impulse_noise, 0.3)):
        noisy = noise(images, setting, seeds)
        (grad,) = torch.autograd.grad(noisy.sum(), images)

        inside = (noisy > 0) & (noisy < 1)
        assert inside.any()
        assert (grad[inside] == 1).all()
        assert noise is shot_noise or (grad[~inside] == 0).all()


@pytest.mark.parametrize(
    ("noise", "setting", "message"),
    [
        (gaussian_noise, -0.1, "scale must be finite and 0 or more, got -0.1"),
        (speckle_noise, torch.tensor([0.1, float("nan")]), "scale must be finite"),
        (shot_noise, 0.0, "peak must be finite and 0.001 or more, got 0.0"),
        (impulse_noise, 1.5, "amount must be finite and from 0 to 1, got 1.5"),
    ],
)
def test_bad_settings_are_refused(noise: object, setting: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise(torch.rand(2, 3, 8, 8), setting, draw_seeds(2))  # type: ignore[operator]
