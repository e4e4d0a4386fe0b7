from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from cvae import DiagonalGaussian
from perturbsets import LatentBall
from perturbsets.criteria.likelihood.importance import OffsetLikelihood
from perturbsets.criteria.likelihood.mode import Transport, _least_in_ball, likeliest
from perturbsets.criteria.likelihood.proposals import Recognised, Ridge
from perturbsets.sets.balls import log_chi_cdf
from tests.perturbsets.bent import BentCVAE

LENGTHS = 0.01


def bound(model: Any, radius: float, count: int = 3, reach: float = 1.0) -> OffsetLikelihood:
    draw = torch.Generator().manual_seed(3)
    clean = torch.rand(count, *model.shape, generator=draw)
    with torch.no_grad():
        changed = model.decode(clean, reach * torch.randn(count, model.latent, generator=draw))
    return OffsetLikelihood(LatentBall(model, radius).at(clean), changed, torch.arange(count))


def test_secants_of_a_linear_generator_are_its_columns(linear_cvae: Any) -> None:
    likelihood = bound(linear_cvae(), 2.0)
    for sides in (1, 2):
        slopes = likelihood.secants(torch.randn(3, 2), torch.tensor([[0.1, 0.3]]).expand(3, 2), sides=sides)
        columns = 0.5 * likelihood.model._generator.basis.detach()  # prior scale 0.5
        assert_close(slopes, columns.expand(3, 6, 2), atol=1e-5, rtol=1e-5)


def test_the_search_ends_at_the_mean_of_a_linear_posterior(linear_cvae: Any) -> None:
    model = linear_cvae(noise=0.01)
    likelihood = bound(model, math.inf)
    found = likeliest(likelihood, torch.full((3, 2), 2.0), torch.full((3, 2), LENGTHS), steps=12)
    exact = likelihood.region.encode(likelihood.changed)  # the recognition network is the exact posterior

    assert_close(found, exact, atol=2e-3, rtol=0)  # where the value is within a tenth of a nat of the best


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_the_search_finds_the_best_point_of_a_bent_posterior(radius: float) -> None:
    likelihood = bound(BentCVAE(), radius)
    found = likeliest(likelihood, torch.zeros(3, 2), torch.full((3, 2), LENGTHS), steps=30)
    line = torch.linspace(-radius, radius, 161)
    grid = torch.cartesian_prod(line, line)
    grid = grid[grid.norm(dim=1) <= radius]
    values = likelihood(grid[:, None].expand(-1, 3, -1))[0] - 0.5 * grid.square().sum(1, keepdim=True)
    success = likelihood(found[None])[0][0] - 0.5 * found.square().sum(1)

    assert (found.norm(dim=1) <= radius * (1 + 1e-6)).all()
    assert (success > values.amax(0) - 0.2).all()


@torch.no_grad()
def ridge_of(noise: float) -> Ridge:
    likelihood, lengths = bound(BentCVAE(noise=noise), math.inf, reach=0.5), torch.full((3, 2), LENGTHS)
    transport = Transport(torch.full((3,), math.inf, dtype=torch.float64), 2)
    return Ridge.at(likelihood, transport, likeliest(likelihood, torch.zeros(3, 2), lengths, steps=20), lengths)


def test_the_density_integrates_to_one_where_the_ridge_bends() -> None:
    ridge = ridge_of(0.003)
    line = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1
    grid = torch.cartesian_prod(line, line)[:, None]

    assert (ridge._sharp.sum(1) == 1).all()
    with torch.no_grad():
        total = ridge.log_prob(ridge.mode + grid).exp().sum(0) / 200**2
    # A side of 2 is seven scales of the free direction or more to either side.
    assert_close(total, torch.ones(3, dtype=torch.float64), rtol=0.005, atol=0)


@pytest.mark.parametrize("noise", [0.003, 0.3])
def test_draws_have_the_density(noise: float, generator: torch.Generator) -> None:
    ridge = ridge_of(noise)
    with torch.no_grad():
        drawn = ridge.sample(40_000, generator)
        density = ridge.log_prob(drawn)
        near = (1.5 * ridge.precision.rsqrt()).amin(1)  # the sharp direction's scale, all around
        inner = -0.5 * ((drawn - ridge.mode) / near[:, None]).square().sum(2) - (2 * math.pi * near.square()).log()
    # A small normal's density over the ridge's has mean 1 under the ridge.
    weights = (inner - density).exp()
    spread = weights.std(0) / 200

    assert ((weights.mean(0) - 1).abs() < 4 * spread).all()
    assert (spread < 0.05).all()


def test_without_sharp_directions_it_is_a_t_distribution() -> None:
    ridge = ridge_of(0.3)
    offsets = torch.randn(5, 3, 2, dtype=torch.float64)
    covariance = ridge.basis @ torch.diag_embed(1.3**2 / ridge.precision) @ ridge.basis.mT

    for pair in range(3):
        known = stats.multivariate_t(ridge.mode[pair], covariance[pair], df=5).logpdf(offsets[:, pair])
        # Scales come from how far the posterior falls off a peak that is known to a millionth of a nat.
        np.testing.assert_allclose(ridge.log_prob(offsets)[:, pair], known, rtol=1e-6)


def test_bernoulli_pixels_tell_as_much_as_their_curvature(generator: torch.Generator) -> None:
    likelihood = bound(BentCVAE("bernoulli"), math.inf)
    offsets = torch.zeros(3, 2)
    with torch.no_grad():
        images = likelihood.region.decode(offsets).flatten(1)
        found = likelihood.information(offsets)
    # -d²/dg² of x ln g + (1 - x) ln(1 - g), averaged over x ~ Bernoulli(g).
    assert_close(found, images / images.square() + (1 - images) / (1 - images).square())


RADII = torch.tensor([0.0, 0.01, 0.5, 2.0, 6.0, 1e3, math.inf], dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 16, 200])
def test_the_transport_takes_the_normal_to_that_of_the_ball(size: int, generator: torch.Generator) -> None:
    transport = Transport(RADII, size)
    points = torch.randn(500, len(RADII), size, dtype=torch.float64, generator=generator)
    offsets = transport(points)
    norms, inside = points.norm(dim=2), offsets.norm(dim=2)

    assert (inside <= RADII * (1 + 1e-12)).all()
    assert_close(offsets[:, -1], points[:, -1])
    assert (offsets[:, 0] == 0).all()
    assert_close(points / norms[..., None] * inside[..., None], offsets)  # along the ray
    # F(τ(r)) = F(r) F(ε), where probabilities are no rounding errors of 0.
    log_cdf = torch.from_numpy(log_chi_cdf(np.stack([norms.numpy(), inside.numpy()]), size))
    whole = torch.from_numpy(log_chi_cdf(RADII.numpy(), size))
    assert_close((log_cdf[0] + whole)[:, 1:], log_cdf[1][:, 1:], rtol=1e-9, atol=1e-9)
    middle = inside.median(0).values[1:5] < 0.999 * RADII[1:5]  # in 200 dimensions nearly all is near the surface
    back = transport.back(offsets[0])[1:5]
    assert_close(back[middle], points[0, 1:5][middle], rtol=1e-6, atol=1e-6)
    beyond = transport.back(torch.full((len(RADII), size), 100.0, dtype=torch.float64))
    assert beyond.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 16])
def test_derivatives_of_the_transport_are_those_of_differences(size: int, generator: torch.Generator) -> None:
    transport = Transport(RADII, size)
    points = torch.randn(len(RADII), size, dtype=torch.float64, generator=generator)
    linear, root = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((size,), (size, size)))
    square = root @ root.T

    def value(where: torch.Tensor) -> torch.Tensor:
        offsets = transport(where)
        return offsets @ linear + 0.5 * ((offsets @ square) * offsets).sum(-1) + 0.5 * where.square().sum(-1)

    def gradient(where: torch.Tensor) -> torch.Tensor:
        return transport.pull(where, linear + transport(where) @ square) + where

    steps = 1e-5 * torch.eye(size, dtype=torch.float64)[:, None]
    slopes = (value(points + steps) - value(points - steps)) / 2e-5
    bends = (gradient(points + steps) - gradient(points - steps)) / 2e-5
    found = transport.curvature(points, linear + transport(points) @ square, square.expand(len(RADII), -1, -1))
    assert_close(gradient(points), slopes.T, rtol=1e-6, atol=1e-6)
    assert_close(found, bends.transpose(0, 1), rtol=1e-6, atol=1e-6)


def test_the_best_point_of_a_ball_is_found_exactly(generator: torch.Generator) -> None:
    values = 1 + 1e4 * torch.rand(50, 6, dtype=torch.float64, generator=generator).pow(4)
    goal = values * torch.randn(50, 6, dtype=torch.float64, generator=generator)
    radii = torch.rand(50, 1, dtype=torch.float64, generator=generator) * 2
    found = _least_in_ball(values, goal, radii)
    free = goal / values
    inside = free.norm(dim=1, keepdim=True) <= radii
    multiplier = (goal - values * found) / found  # the same for all coordinates (Karush, Kuhn and Tucker)

    assert 0 < inside.sum() < 50
    assert_close(found[inside[:, 0]], free[inside[:, 0]])
    assert_close(found.norm(dim=1, keepdim=True)[~inside], radii[~inside])
    outside = multiplier[~inside[:, 0]]
    assert (outside > 0).all()
    assert_close(outside, outside[:, :1].expand_as(outside), rtol=1e-6, atol=1e-6)


def test_recognition_far_outside_is_moved_to_where_the_ball_is(generator: torch.Generator) -> None:
    size = 256
    prior = DiagonalGaussian(torch.ones(2, size), torch.full((2, size), math.log(2.0)))
    mean = prior.at(torch.tensor([[30.0], [3.0]]) / math.sqrt(size) * torch.ones(2, size))
    transport = Transport(torch.full((2,), 12.0, dtype=torch.float64), size)
    recognised = Recognised.of(DiagonalGaussian(mean, torch.full((2, size), math.log(1.0))), prior, transport)
    norms = transport(recognised.sample(400, generator)).norm(dim=2)

    assert (norms <= 12).all()
    assert norms[:, 0].min() > 11  # next to the surface
    # Σσ² = 256/4: the one well inside stays.
    assert_close(norms[:, 1].square().mean(), torch.tensor(9 + 64.0, dtype=torch.float64), rtol=0.02, atol=0)
