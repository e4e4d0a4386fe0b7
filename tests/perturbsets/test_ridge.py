from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from perturbsets import LatentBall
from perturbsets.criteria.offset_likelihood import OffsetLikelihood
from perturbsets.criteria.proposals import BallNormal, Recognised
from perturbsets.criteria.ridge import Ridge, likeliest
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
    line = torch.linspace(-radius, radius, 801)
    grid = torch.cartesian_prod(line, line)
    grid = grid[grid.norm(dim=1) <= radius]
    values = likelihood(grid[:, None].expand(-1, 3, -1))[0] - 0.5 * grid.square().sum(1, keepdim=True)
    reached = likelihood(found[None])[0][0] - 0.5 * found.square().sum(1)

    assert (found.norm(dim=1) <= radius * (1 + 1e-6)).all()
    assert (reached > values.amax(0) - 0.2).all()


@pytest.mark.parametrize("noise", [0.3, 0.02, 0.002])
def test_the_density_of_the_ridge_integrates_to_one(noise: float) -> None:
    likelihood = bound(BentCVAE(noise=noise), math.inf, reach=0.7)
    with torch.no_grad():
        lengths = torch.full((3, 2), LENGTHS)
        ridge = Ridge.at(likelihood, likeliest(likelihood, torch.zeros(3, 2), lengths, steps=20), lengths)
        line = (torch.arange(1500, dtype=torch.float64) + 0.5) / 1500 * 2 - 1
        spread = 40 * 1.3 / ridge.precision.min().sqrt().item()  # t with 5 degrees: less than 1e-5 beyond 40 scales
        # Substituting u = spread * v⁵ looks closely at the middle.
        free = ridge._in((torch.zeros(1, 3, 2)).double())
        total = []
        for sharp_count in [int(ridge._sharp.sum(1).max())]:
            assert sharp_count == (0 if noise == 0.3 else 1 if noise == 0.02 else sharp_count)
        v = line
        u1 = spread * v**5
        jac = 5 * spread * v**4 * (2 / 1500)
        a = torch.cartesian_prod(u1, u1)[:, None].expand(-1, 3, -1)
        w = torch.cartesian_prod(jac, jac).prod(1)
        inward = a + 0 * free
        follow = ridge._follow(inward)
        total = (ridge.log_prob(ridge._out(inward + follow)).exp() * w[:, None]).sum(0)
    assert_close(total, torch.ones(3, dtype=torch.float64), rtol=0.01, atol=0)
