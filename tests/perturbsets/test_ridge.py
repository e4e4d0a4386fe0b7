from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from cvae import DiagonalGaussian
from perturbsets import L2Ball, LatentBall
from perturbsets.criteria.likelihood.offset_likelihood import OffsetLikelihood
from perturbsets.criteria.likelihood.proposals import BallNormal, Recognised
from perturbsets.criteria.likelihood.ridge import Ridge, likeliest
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
    reached = likelihood(found[None])[0][0] - 0.5 * found.square().sum(1)

    assert (found.norm(dim=1) <= radius * (1 + 1e-6)).all()
    assert (reached > values.amax(0) - 0.2).all()


@torch.no_grad()
def ridge_of(noise: float) -> Ridge:
    likelihood, lengths = bound(BentCVAE(noise=noise), math.inf, reach=0.5), torch.full((3, 2), LENGTHS)
    return Ridge.at(likelihood, likeliest(likelihood, torch.zeros(3, 2), lengths, steps=20), lengths)


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
        np.testing.assert_allclose(ridge.log_prob(offsets)[:, pair], known, rtol=1e-9)


def test_bernoulli_pixels_tell_as_much_as_their_curvature(generator: torch.Generator) -> None:
    likelihood = bound(BentCVAE("bernoulli"), math.inf)
    offsets = torch.zeros(3, 2)
    with torch.no_grad():
        images = likelihood.region.decode(offsets).flatten(1)
        found = likelihood.information(offsets)
    # -d²/dg² of x ln g + (1 - x) ln(1 - g), averaged over x ~ Bernoulli(g).
    assert_close(found, images / images.square() + (1 - images) / (1 - images).square())


def test_the_normal_of_a_ball_is_a_density_on_it(generator: torch.Generator) -> None:
    ball, centre = L2Ball(1.5), torch.zeros(4, 2)
    proposal = BallNormal(ball, centre)
    drawn = proposal.sample(1000, generator)
    line = (torch.arange(800, dtype=torch.float64) + 0.5) / 200 - 2
    grid = torch.cartesian_prod(line, line)[:, None].expand(-1, 4, -1)

    assert drawn.shape == (1000, 4, 2)
    assert proposal.log_prob(drawn).isfinite().all()
    assert_close(proposal.log_prob(grid).exp().sum(0) / 200**2, torch.ones(4, dtype=torch.float64), rtol=1e-3, atol=0)
    point = BallNormal(L2Ball(0.0), centre)
    assert torch.equal(point.sample(2, generator), torch.zeros(2, 4, 2, dtype=torch.float64))
    assert point.log_prob(torch.eye(2).double()[:1].expand(1, 4, 2)).isneginf().all()


def test_recognition_far_outside_is_moved_so_that_draws_fall_inside(generator: torch.Generator) -> None:
    size = 256
    prior = DiagonalGaussian(torch.ones(2, size), torch.full((2, size), math.log(2.0)))
    mean = prior.at(torch.tensor([[30.0], [3.0]]) / math.sqrt(size) * torch.ones(2, size))
    recognised = Recognised.of(DiagonalGaussian(mean, torch.full((2, size), math.log(1.0))), prior, L2Ball(12.0))
    norms = recognised.sample(400, generator).norm(dim=2)

    # Σσ² = 256/4: the mean goes to √(144 - 64); the one well inside stays.
    assert_close(norms.square().mean(0), torch.tensor([144.0, 9 + 64.0], dtype=torch.float64), rtol=0.02, atol=0)
    assert 0.3 < (norms[:, 0] <= 12).double().mean() < 0.7
