from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from perturbsets.criteria.likelihood.importance import (
    effective_draws,
    generalised_pareto_shape,
    log_mean,
    log_weights,
    pareto_k,
)


@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.3, 0.5, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("count", [100, 1000])
def test_the_shape_of_pareto_draws_is_recovered(shape: float, count: int) -> None:
    drawn = stats.genpareto(shape, scale=3.0).rvs((count, 400), random_state=np.random.default_rng(1))
    found = generalised_pareto_shape(torch.from_numpy(np.sort(drawn, 0)))
    expected = (count * shape + 5) / (count + 10)

    # The least spread an unbiased estimate can have is (1 + k)/√n (k > -½); the estimator's own bias is below a third.
    spread = (1 + max(shape, 0.0)) / math.sqrt(count)
    assert found.mean().item() == pytest.approx(expected, abs=spread / 3)
    assert found.std().item() < 1.3 * spread


@pytest.mark.parametrize("narrow", [0.3, 0.5, 0.8])
def test_a_narrow_normal_proposal_has_the_shape_known_in_closed_form(narrow: float) -> None:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(100_000, 20, dtype=torch.float64, generator=generator)
    # N(0, 1) over N(0, v): ln w = z² (1 - v) / 2 + c at u = √v z, so that P(W > w) falls as w^(-1/(1-v)).
    found = pareto_k(normal.square() * (1 - narrow) / 2)

    # The logarithm in the tail of a normal makes the approach slow: from below, by about a tenth here.
    assert found.mean().item() == pytest.approx(1 - narrow, abs=0.12)
    assert found.std().item() < 3 * (2 - narrow) / math.sqrt(3 * math.sqrt(100_000))


def test_effective_draws_count_even_weights_and_agree_with_the_lognormal() -> None:
    even = torch.tensor([[0.0, 0.0], [0.0, -math.inf], [0.0, -math.inf], [0.0, -math.inf]], dtype=torch.float64)
    assert torch.equal(effective_draws(even + 1000), torch.tensor([4.0, 1.0], dtype=torch.float64))
    normal = torch.randn(200_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    # (E W)² / E W² = e^(-s²) for ln W ~ N(m, s²).
    assert effective_draws(0.5 * normal + 7).item() / 200_000 == pytest.approx(math.exp(-0.25), rel=0.01)
    assert log_mean(0.5 * normal + 7).item() == pytest.approx(7 + 0.125, abs=0.01)


def test_a_mixture_weighs_each_draw_against_all_proposals() -> None:
    generator = torch.Generator().manual_seed(1)
    wide, narrow = stats.norm(0, 2), stats.norm(1, 0.1)
    counts = [6_000, 14_000]
    drawn = torch.randn(20_000, 1, dtype=torch.float64, generator=generator)
    drawn = torch.cat([2 * drawn[:6_000], 1 + 0.1 * drawn[6_000:]])

    def density(which: object) -> torch.Tensor:
        return torch.from_numpy(which.logpdf(drawn.numpy()))  # type: ignore[attr-defined]

    table = log_weights(density(stats.norm(0, 1)), [density(wide), density(narrow)], counts)
    by_hand = stats.norm(0, 1).pdf(drawn) / (0.3 * wide.pdf(drawn) + 0.7 * narrow.pdf(drawn))

    np.testing.assert_allclose(table.exp(), by_hand, rtol=1e-12)
    # The integral of the target is 1. No weight exceeds N(0, 1) / (0.3 N(0, 4)), which is 2 / 0.3 at most.
    assert log_mean(table).item() == pytest.approx(0, abs=4 * math.sqrt(6 / 20_000))
    assert table.max() <= math.log(2 / 0.3) + 1e-12


def test_ends_of_the_range_have_a_shape_or_say_that_there_is_none() -> None:
    flat, single = torch.zeros(100, 1, dtype=torch.float64), torch.full((100, 1), -1e5, dtype=torch.float64)
    single[3] = 0
    none = torch.full_like(flat, -math.inf)
    few = torch.randn(24, 2, dtype=torch.float64)

    assert pareto_k(flat).tolist() == [-1.0]
    assert pareto_k(single).tolist() == [math.inf]
    assert pareto_k(none).tolist() == [math.inf]
    assert pareto_k(few).tolist() == [math.inf, math.inf]
    assert pareto_k(torch.randn(25, 2, dtype=torch.float64)).isfinite().all()


def test_the_shape_does_not_depend_on_the_scale_or_order_of_the_weights() -> None:
    table = 2 * torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(pareto_k(table), pareto_k(table.flip(0) - 5000), rtol=1e-9, atol=1e-9)
