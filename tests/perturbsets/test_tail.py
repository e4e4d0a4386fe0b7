from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from torch.testing import assert_close

from perturbsets.criteria.theorems.tail import (
    divergence,
    largest_ratio,
    log_outside,
    outside_bound,
    paper_outside,
    paper_radius,
    radius_at,
    radius_needed,
)


@given(size=st.integers(1, 4096), share=st.floats(0, 3))
def test_log_mass_agrees_with_scipy_where_scipy_works(size: int, share: float) -> None:
    radius = share * math.sqrt(size)
    known = stats.chi2(size).logsf(radius**2)

    if known > -600:  # scipy takes the logarithm of a double, which ends near e^-700
        assert log_outside(radius, size).item() == pytest.approx(known, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("size", "radius"), [(1, 40.0), (2, 60.0), (16, 45.0), (16, 1e4), (512, 100.0), (4096, 120.0)])
def test_log_mass_agrees_with_quadrature_of_logarithms(size: int, radius: float) -> None:
    # With x = r²/2 = x₀ + t the density is x^(a-1) e^-x / Γ(a), which falls at least as fast as e^(-t (1 - a/x₀)).
    a, start = size / 2, radius**2 / 2
    t = np.linspace(0, 60 / (1 - a / start), 400_001)
    log_density = (a - 1) * np.log1p(t / start) - t
    integral = np.log(np.trapezoid(np.exp(log_density), t))
    known = (a - 1) * math.log(start) - start - special.gammaln(a) + integral

    assert log_outside(radius, size).item() == pytest.approx(known, rel=1e-9)


def test_in_two_dimensions_the_mass_is_known_at_any_radius() -> None:
    radius = torch.tensor([0.0, 1e-8, 0.3, 2.0, 37.0, 38.0, 1e3, 1e8, math.inf], dtype=torch.float64)

    assert_close(log_outside(radius, 2), -radius.square() / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [1, 16, 4096])
def test_radius_inverts_the_mass(size: int) -> None:
    log_mass = torch.tensor([0, -1e-8, -0.5, -3, -40, -1e3, -1e6, -math.inf], dtype=torch.float64)
    radius = radius_at(log_mass, size)

    assert radius[0] == 0
    assert radius[-1] == math.inf
    assert_close(log_outside(radius, size), log_mass, rtol=1e-11, atol=0)
    assert bool((log_outside(radius, size) <= log_mass).all())


COINS = [(alpha, log_beta) for log_beta in (-1e-3, -0.3, -2.0, -40.0, -1e5) for alpha in (1e-3, 0.2, 0.7, 1 - 1e-9)]


@pytest.mark.parametrize(("alpha", "log_beta"), COINS)
def test_the_lemma_is_reached_by_the_extremal_distribution(alpha: float, log_beta: float) -> None:
    beta = math.exp(log_beta)
    if alpha < beta:
        return
    # Prior times α/β outside and (1-α)/(1-β) inside: its divergence is that of the two coins, its mass is α.
    inside = math.log1p(-alpha) - math.log(-math.expm1(log_beta))
    spent = alpha * (math.log(alpha) - log_beta) + (1 - alpha) * inside

    assert divergence(alpha, log_beta).item() == pytest.approx(spent, rel=1e-9)
    assert outside_bound(spent, log_beta).item() == pytest.approx(alpha, rel=1e-9)
    assert outside_bound(0.99 * spent, log_beta) < alpha  # one that promised any less would be wrong


def test_the_lemma_proves_nothing_exactly_from_the_logarithm_on() -> None:
    log_beta = torch.tensor([-1e-30, -1e-3, -1.0, -50.0, -1e8], dtype=torch.float64)
    below, above = torch.nextafter(-log_beta, torch.zeros(())), -log_beta

    assert bool((outside_bound(below, log_beta) < 1).all())
    assert bool((outside_bound(above, log_beta) == 1).all())
    assert bool((outside_bound(1e300, log_beta) == 1).all())
    assert outside_bound(5.0, -math.inf) == 0
    assert outside_bound(0.0, 0.0) == 1


def test_without_divergence_the_mass_is_the_priors() -> None:
    log_beta = torch.tensor([-1e-3, -1.0, -50.0, -700.0], dtype=torch.float64)

    assert_close(outside_bound(0.0, log_beta), log_beta.exp(), rtol=1e-12, atol=0)
    # Close to it kl is (α - β)² / 2β(1 - β); the rest of the series is below the tolerance.
    tiny, beta = 1e-14, 0.3
    near = outside_bound(tiny, math.log(beta)).item() - beta
    assert near == pytest.approx(math.sqrt(2 * beta * (1 - beta) * tiny), rel=1e-6)


@given(size=st.integers(1, 500), alpha=st.floats(1e-3, 0.999), kl=st.floats(0, 1e3))
def test_the_radius_needed_is_where_the_lemma_leaves_that_much(size: int, alpha: float, kl: float) -> None:
    radius = radius_needed(kl, alpha, size)

    assert outside_bound(kl, log_outside(radius, size)).item() == pytest.approx(alpha, rel=1e-6)


def test_the_lemma_rises_with_the_divergence_and_is_concave() -> None:
    bounds = outside_bound(torch.linspace(0, 25, 2001, dtype=torch.float64), -19.0)
    slopes = bounds.diff()

    assert bool((slopes >= 0).all())
    assert bool((slopes.diff() <= 1e-12).all())


@given(kl=st.floats(0, 1e6))
def test_the_largest_ratio_spends_the_whole_divergence(kl: float) -> None:
    square = largest_ratio(kl).item() ** 2

    assert square <= (1 + 2 * math.sqrt(kl) + 2 * kl) * (1 + 1e-12)
    assert square - 1 - math.log(square) == pytest.approx(2 * kl, rel=1e-6, abs=1e-12)
    if 1e-3 < kl < 300:  # the same by Lambert's function, between its branch point and where its argument underflows
        lambert = -special.lambertw(-math.exp(-1 - 2 * kl), -1).real
        assert square == pytest.approx(lambert, rel=1e-9)


def test_the_papers_form_inverts_itself() -> None:
    kl = torch.tensor([0.5, 20.0, 200.0], dtype=torch.float64)
    for ratio in (None, torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)):
        radius = paper_radius(kl, 0.2, 16, ratio)

        assert_close(paper_outside(radius, kl, 16, ratio), torch.full_like(kl, 0.2))
        assert bool((paper_outside((2 * kl).sqrt(), kl, 16, ratio) == 1).all())


def test_radii_at_half_the_mass_in_sixteen_dimensions() -> None:
    assert radius_needed(20.0, 0.5, 16).item() == pytest.approx(11.1, abs=0.05)
    assert paper_radius(20.0, 0.5, 16).item() == pytest.approx(32.5, abs=0.05)
    simple = math.sqrt(1 + 2 * math.sqrt(20) + 40)  # the bound of B in closed form costs some more
    assert paper_radius(20.0, 0.5, 16, simple).item() == pytest.approx(34.0, abs=0.05)


def test_for_little_mass_the_papers_form_needs_the_smaller_ball() -> None:
    # A Gaussian has light tails, which the lemma cannot know: neither is always the better one.
    assert radius_needed(20.0, 0.05, 16) < paper_radius(20.0, 0.05, 16)
    assert radius_needed(20.0, 0.01, 16) > paper_radius(20.0, 0.01, 16)
