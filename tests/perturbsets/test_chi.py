from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from perturbsets.sets.chi import log_chi_cdf, truncated_chi


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
