from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from perturbsets.sets import L2Ball
from perturbsets.sets.balls import log_chi_cdf, truncated_chi


@given(size=st.integers(1, 400), share=st.floats(0.2, 3))
def test_log_cdf_agrees_with_scipy_where_scipy_works(size: int, share: float) -> None:
    radius = share * math.sqrt(size)
    known = stats.chi(size).logcdf(radius)

    if known > -600:  # scipy takes the logarithm of a double, which ends near e^-700
        np.testing.assert_allclose(log_chi_cdf(np.array(radius), size), known, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("size", "radius"), [(4096, 0.1), (4096, 20.0), (1000, 5.0), (64, 1e-6), (2048, 30.0)])
def test_log_cdf_agrees_with_quadrature_of_logarithms(size: int, radius: float) -> None:
    # The density of t = ln r is r^d e^(-r²/2) up to a constant; far left of r it is nothing.
    t = np.linspace(math.log(radius) - 60 / size, math.log(radius), 200_001)
    log_density = size * t - np.exp(2 * t) / 2
    weights = np.full_like(t, t[1] - t[0])
    weights[[0, -1]] /= 2
    integral = special.logsumexp(log_density, b=weights)
    constant = (size / 2 - 1) * math.log(2) + special.gammaln(size / 2)

    np.testing.assert_allclose(log_chi_cdf(np.array(radius), size), integral - constant, rtol=1e-8)


def test_log_cdf_at_the_ends_and_in_between() -> None:
    values = log_chi_cdf(np.array([0.0, 0.01, 1.0, 10.0, 50.0, 64.0, 100.0, math.inf]), 4096)

    assert values[0] == -math.inf
    assert values[-1] == 0
    assert (np.diff(values) >= 0).all()


@given(size=st.sampled_from([1, 2, 8, 100, 784, 4096]), share=st.floats(1e-3, 2), seed=st.integers(0, 1000))
def test_quantiles_invert_the_distribution_function(size: int, share: float, seed: int) -> None:
    uniform = torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    limit = torch.full((16,), share * math.sqrt(size), dtype=torch.float64)
    norms = truncated_chi(uniform, size, limit)

    assert ((norms >= 0) & (norms <= limit)).all()
    log_share = log_chi_cdf(norms.numpy(), size) - log_chi_cdf(limit.numpy(), size)
    np.testing.assert_allclose(np.exp(log_share), uniform, atol=1e-7)
    order = uniform.argsort()
    assert (norms[order].diff() >= 0).all()


def test_quantiles_at_the_ends() -> None:
    uniform = torch.tensor([0.0, 0.5, 1 - 1e-16, 0.5, 0.0], dtype=torch.float64)
    limit = torch.tensor([0.1, 0.0, 0.1, math.inf, math.inf], dtype=torch.float64)
    norms = truncated_chi(uniform, 4096, limit)

    assert norms.isfinite().all()
    assert norms[1] == 0
    np.testing.assert_allclose(norms[2], 0.1)
    np.testing.assert_allclose(norms[3], stats.chi(4096).median())


SIZES = [1, 2, 16, 128, 1024, 4096]
GRID = [(size, radius) for size in SIZES for radius in (0.1, 1.0, math.sqrt(size), 2 * math.sqrt(size), 100.0)]
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def decimal_log_cdf(radius: float, size: int) -> Decimal:
    """The series of the incomplete gamma function in 50 digits, which neither underflow nor cancel."""
    with localcontext() as context:
        context.prec = 50
        a, x = Decimal(size) / 2, Decimal(radius) ** 2 / 2
        log_gamma = PI.ln() / 2 if size % 2 else Decimal(0)  # of a + 1, as a product
        for factor in range(1, size // 2 + 1 + size % 2):
            log_gamma += (Decimal(factor) - (Decimal("0.5") if size % 2 else 0)).ln()
        term = total = Decimal(1)
        step = 0
        while term > total * Decimal("1e-45") or step < x - a:
            step += 1
            term = term * x / (a + step)
            total += term
        return a * x.ln() - x - log_gamma + total.ln()


@pytest.mark.parametrize(("size", "radius"), [(1, 1.3), (2, 0.5), (7, 3.0), (64, 9.0)])
def test_the_series_in_decimals_agrees_with_scipy(size: int, radius: float) -> None:
    assert float(decimal_log_cdf(radius, size)) == pytest.approx(stats.chi(size).logcdf(radius), rel=1e-12)


@pytest.mark.parametrize(("size", "radius"), [*GRID, (4096, 30.0), (1024, 8.5), (1024, 9.5), (512, 2.6)])
def test_distribution_and_quantiles_agree_with_the_series_in_decimals(size: int, radius: float) -> None:
    # The last ones lie about where probabilities underflow and the logarithmic series takes over.
    whole = decimal_log_cdf(radius, size)
    assert float(log_chi_cdf(np.array(radius), size)) == pytest.approx(float(whole), rel=1e-13, abs=1e-15)
    uniform = torch.tensor([1e-6, 0.01, 0.3, 0.9, 1 - 1e-6], dtype=torch.float64)
    norms = truncated_chi(uniform, size, torch.full_like(uniform, radius))
    shares = [float((decimal_log_cdf(norm, size) - whole).exp()) for norm in norms.tolist()]

    # A double that far from 1 moves a probability of logarithm -24,000 by 24,000 units of rounding.
    np.testing.assert_allclose(shares, uniform, rtol=2e-11)


@pytest.mark.parametrize(("size", "radius"), GRID)
def test_draws_of_the_ball_have_the_norms_and_directions_they_should(size: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(4)
    count = 1000
    drawn = L2Ball(radius).normal(torch.empty(count, size, dtype=torch.float64), generator)
    norms = drawn.norm(dim=1)
    shares = np.exp(log_chi_cdf(norms.numpy(), size) - log_chi_cdf(np.array(radius), size))
    directions = drawn / norms[:, None]

    assert (norms <= radius).all()
    assert stats.kstest(shares, "uniform").pvalue > 1e-3  # of 30 of these, and of a fixed seed
    # Uniform directions: no mean, coordinates of mean square 1/d and fourth moment 3/d(d+2), no product of two.
    assert directions.mean(0).abs().max() < 5.5 / math.sqrt(count * size)
    if size > 1:
        fourth = 3 / size / (size + 2)
        spread = math.sqrt((fourth - size**-2) / count)
        assert (directions.square().mean(0) - 1 / size).abs().max() < 5.5 * spread
        assert directions.pow(4).mean().item() == pytest.approx(fourth, rel=0.1)
        products = (directions * directions.roll(1, 1)).mean(0)
        assert products.abs().max() < 5.5 / math.sqrt(count * size * (size + 2))


@pytest.mark.parametrize(("size", "radius"), [(1, 0.1), (1, 1.0), (2, 1.0), (16, 4.0), (128, 11.0), (1024, 64.0)])
def test_draws_of_the_ball_agree_with_rejection_in_every_projection(size: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(5)
    drawn = L2Ball(radius).normal(torch.empty(2000, size), generator)
    free = torch.randn(20_000, size, generator=generator)
    kept = free[free.norm(dim=1) <= radius]

    assert len(kept) > 1000
    assert stats.ks_2samp(drawn.norm(dim=1).numpy(), kept.norm(dim=1).numpy()).pvalue > 1e-3
    assert stats.ks_2samp(drawn[:, 0].numpy(), kept[:, 0].numpy()).pvalue > 1e-3
    diagonal = torch.ones(size) / math.sqrt(size)
    assert stats.ks_2samp((drawn @ diagonal).numpy(), (kept @ diagonal).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_radius_per_image_from_nothing_to_no_limit(dtype: torch.dtype) -> None:
    radii = torch.tensor([0.0, 0.1, 100.0, math.inf], dtype=torch.float64)
    drawn = L2Ball(radii).normal(torch.empty(4, 4096, dtype=dtype), torch.Generator().manual_seed(6))
    norms = drawn.double().norm(dim=1)

    assert drawn.isfinite().all()
    assert (norms <= radii * (1 + 4 * torch.finfo(dtype).eps * 64)).all()
    assert norms[0] == 0
    assert norms[1] > 0.09  # (0.9)^4096 is nothing
    assert (norms[2:] - 64).abs().max() < 4
