from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch.testing import assert_close

from perturbsets import LatentBall, SufficientLikelihood
from perturbsets.sets.chi import log_chi_cdf

COUNT = 12


def make_pairs(model: Any, memory_pairs: Any, reach: float = 1.0) -> Any:
    """Changed images from the model itself, so that the likelihood is that of typical ones."""
    clean = 0.4 + 0.2 * torch.rand(COUNT, 1, 2, 3)
    with torch.no_grad():
        changed = model.decode(clean, reach * torch.randn(COUNT, 2)) + 0.1 * torch.randn(COUNT, 1, 2, 3)
    return memory_pairs(clean, changed.clamp(0, 1), torch.arange(COUNT))


@pytest.mark.parametrize("widen", [0.0, 0.4])
def test_a_large_ball_gives_the_exact_integral(
    linear_cvae: Any, memory_pairs: Any, widen: float, generator: torch.Generator
) -> None:
    model = linear_cvae(widen=widen)
    pairs = make_pairs(model, memory_pairs)
    result = SufficientLikelihood(800)(LatentBall(model, 50.0), pairs, generator=generator)
    prior = model.prior(model.context(pairs.clean))
    basis = model._generator.basis.double()
    mean = pairs.clean.flatten(1).double() + prior.mean.double() @ basis.T
    covariance = 0.1**2 * torch.eye(6, dtype=torch.float64) + 0.5**2 * basis @ basis.T
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(pairs.changed.flatten(1).double())

    # Beside the exact posterior no weight exceeds twice the level, so 1600 draws leave a few hundredths of a nat.
    assert_close(result.bits_per_pixel, (exact / math.log(2) / 6).detach(), atol=0.02, rtol=0.01)
    mean_bits = (exact / math.log(2) / 6).mean().item()
    assert math.isclose(result.bits_per_pixel.mean(), mean_bits, rel_tol=0.01)


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.0])
def test_a_small_ball_agrees_with_quadrature(
    linear_cvae: Any, memory_pairs: Any, radius: float, generator: torch.Generator
) -> None:
    model = linear_cvae(widen=0.2)
    pairs = make_pairs(model, memory_pairs, reach=0.5)
    result = SufficientLikelihood(1000)(LatentBall(model, radius), pairs, generator=generator)
    # Polar coordinates: the density of the conditioned normal is r e^(-r²/2) / 2π F(radius).
    r = (torch.arange(80) + 0.5) / 80 * radius
    angle = torch.arange(80) / 80 * 2 * math.pi
    u = torch.stack([r[:, None] * angle.cos(), r[:, None] * angle.sin()], 2).view(-1, 2)
    weight = (r * (-r.square() / 2).exp() * radius / 80 / 80).repeat_interleave(80).double()
    inside = float(log_chi_cdf(np.array(radius), 2))
    ratios = []
    for row in range(COUNT):
        with torch.no_grad():
            images = model.decode(pairs.clean[row : row + 1].expand(len(u), -1, -1, -1), u)
        square = (images - pairs.changed[row]).square().flatten(1).sum(1).double()
        log_likelihood = -square / (2 * 0.1**2) - 3 * math.log(2 * math.pi * 0.1**2)
        exact = special.logsumexp(log_likelihood.numpy(), b=weight.numpy()) - inside

        ratios.append(math.exp(result.bits_per_pixel[row].item() * math.log(2) * 6 - exact))

    # The estimate of the level is unbiased. Where much of the recognition distribution lies outside of the ball,
    # 2000 draws leave an error of some tenths in the level of one pair.
    assert max(abs(ratio - 1) for ratio in ratios) < 0.3
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_approximation_error_is_the_mean_over_the_ball(
    linear_cvae: Any, memory_pairs: Any, generator: torch.Generator
) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    result = SufficientLikelihood(1000)(LatentBall(model, 1.0), pairs, generator=generator)
    prior = model.prior(model.context(pairs.clean))
    basis = model._generator.basis
    rest = (pairs.changed - pairs.clean).flatten(1) - prior.mean @ basis.T
    # E|r - Bu|² = |r|² + E|u|² times the squared length of a column; E|u|² over two dimensions by parts.
    second = 2 - math.exp(-0.5) / (1 - math.exp(-0.5))
    exact = (rest.square().sum(1) + second * (0.3 * 0.5) ** 2) / 6

    assert_close(result.approximation_error, exact.detach(), rtol=0.05, atol=1e-4)  # 1000 draws


def test_effective_draws_lie_between_one_and_all(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    result = SufficientLikelihood(8)(LatentBall(model, 2.0), pairs, generator=torch.Generator().manual_seed(1))
    again = SufficientLikelihood(8)(LatentBall(model, 2.0), pairs, generator=torch.Generator().manual_seed(1))

    assert ((result.effective_draws >= 1 - 1e-6) & (result.effective_draws <= 16 + 1e-6)).all()
    assert torch.equal(result.bits_per_pixel, again.bits_per_pixel)
    summary = result.summary()
    bits = summary["bits_per_pixel"]
    assert bits["low"] <= bits["mean"] <= bits["high"]
    assert math.isclose(bits["mean"], result.bits_per_pixel.mean().item(), rel_tol=1e-6)
    assert summary["effective_sample_size"] == pytest.approx(result.effective_draws.mean().item())


def test_an_encoding_far_outside_a_small_ball_gives_a_finite_level(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs, reach=5.0)
    result = SufficientLikelihood(4)(LatentBall(model, 1e-3), pairs)

    assert result.bits_per_pixel.isfinite().all()
    assert result.effective_draws.isfinite().all()


def test_impossible_settings_are_refused(linear_cvae: Any, memory_pairs: Any) -> None:
    with pytest.raises(ValueError, match="draws must be at least 1"):
        SufficientLikelihood(0)
    empty = memory_pairs(torch.rand(0, 1, 2, 3), torch.rand(0, 1, 2, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one pair"):
        SufficientLikelihood(1)(LatentBall(linear_cvae(), 1.0), empty)


def test_a_point_gives_the_likelihood_there(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    result = SufficientLikelihood(3)(LatentBall(model, 0.0), pairs)
    with torch.no_grad():
        square = (model.decode(pairs.clean, torch.zeros(COUNT, 2)) - pairs.changed).square().flatten(1).sum(1).double()

    exact = -square / (2 * 0.1**2) - 3 * math.log(2 * math.pi * 0.1**2)
    assert_close(result.bits_per_pixel, exact / math.log(2) / 6, rtol=1e-5, atol=1e-5)
    assert_close(result.approximation_error, (square / 6).float(), rtol=1e-4, atol=1e-6)
