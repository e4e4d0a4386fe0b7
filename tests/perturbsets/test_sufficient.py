from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from perturbsets import LatentBall, SufficientLikelihood
from perturbsets.sets.chi import log_chi_cdf
from tests.perturbsets.bent import BentCVAE, level

COUNT = 12


def make_pairs(
    model: Any, memory_pairs: Any, reach: float = 1.0, shape: tuple[int, int] = (2, 3), noise: float | None = None
) -> Any:
    """Changed images from the model itself, so that the likelihood is that of typical ones."""
    draw = torch.Generator().manual_seed(5)
    noise = float(model.likelihood.scale) if noise is None else noise
    clean = 0.4 + 0.2 * torch.rand(COUNT, 1, *shape, generator=draw)
    with torch.no_grad():
        changed = model.decode(clean, reach * torch.randn(COUNT, model.latent, generator=draw))
    changed = changed + noise * torch.randn(COUNT, 1, *shape, generator=draw)
    return memory_pairs(clean, changed.clamp(0, 1), torch.arange(COUNT))


def exact_level(model: Any, pairs: Any, radius: float) -> torch.Tensor:
    """In closed form: a Gaussian marginal, and the share of posterior and prior in the ball.

    With columns of the generator that are orthogonal and of one length a, posteriors in offsets are N(m, v I),
    v = 1 / (1 + a²/s²), whose squared norm is a noncentral chi-square variable.
    """
    prior = model.prior(model.context(pairs.clean))
    basis = 0.5 * model._generator.basis.detach().double()
    noise, size, pixels = float(model.likelihood.scale), model.latent, model.pixels
    rest = (pairs.changed - pairs.clean).flatten(1).double() - prior.mean.detach().double() @ basis.T / 0.5
    covariance = noise**2 * torch.eye(pixels, dtype=torch.float64) + basis @ basis.T
    mean = torch.zeros(pixels, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(mean, covariance).log_prob(rest)
    if math.isinf(radius):
        return marginal
    variance = 1 / (1 + basis[:, 0].square().sum() / noise**2)
    centre = variance * rest @ basis / noise**2
    posterior = stats.ncx2.logcdf(radius**2 / variance, size, centre.square().sum(1) / variance)
    return marginal + torch.from_numpy(posterior) - float(log_chi_cdf(np.array(radius), size))


MATCHED, NARROW, WIDE, ELSEWHERE = (0.0, 0.0), (-2.0, 0.0), (2.0, 0.0), (-1.0, 1.0)


def spoilt(linear_cvae: Any, recognition: tuple[float, float], **settings: Any) -> Any:
    """A linear model whose recognition distribution is too narrow or wide, or lies beside the posterior."""
    widen, moved = recognition
    model = linear_cvae(widen=widen, **settings)
    with torch.no_grad():
        model._recognition[1].bias[: model.latent] += moved
    return model


@pytest.mark.parametrize("recognition", [MATCHED, NARROW, WIDE, ELSEWHERE])
@pytest.mark.parametrize("radius", [0.5, 2.0, math.inf])
@pytest.mark.parametrize("size", [2, 3])
def test_the_level_is_right_to_one_percent(
    linear_cvae: Any, memory_pairs: Any, size: int, radius: float, recognition: tuple[float, float]
) -> None:
    model = spoilt(linear_cvae, recognition, latent=size, noise=0.05)
    pairs = make_pairs(model, memory_pairs, reach=0.5)
    result = SufficientLikelihood(4000)(LatentBall(model, radius), pairs, generator=torch.Generator().manual_seed(1))
    exact = exact_level(model, pairs, radius)
    level = result.bits_per_pixel * math.log(2) * 6

    assert_close(level.mean(), exact.mean(), rtol=0.01, atol=0)
    assert (level - exact).exp().mean() == pytest.approx(1, abs=0.01 + 2 / math.sqrt(COUNT * 4000 / 4))
    assert_close(level, exact, rtol=0.01, atol=0.1)  # a tenth of a nat where the posterior is half outside
    assert result.summary()["trusted"]


@pytest.mark.parametrize("recognition", [MATCHED, ELSEWHERE])
def test_sharp_posteriors_in_many_dimensions(
    linear_cvae: Any, memory_pairs: Any, recognition: tuple[float, float]
) -> None:
    model = spoilt(linear_cvae, recognition, latent=16, height=4, width=8, noise=0.002)
    pairs = make_pairs(model, memory_pairs, shape=(4, 8))
    follow = SufficientLikelihood(200)(LatentBall(model, 7.0), pairs, generator=torch.Generator().manual_seed(1))
    plain = SufficientLikelihood(200, ridge=0)(
        LatentBall(model, 7.0), pairs, generator=torch.Generator().manual_seed(1)
    )
    exact = exact_level(model, pairs, 7.0) / math.log(2) / 32

    # Along the ridge it does not matter how bad the recognition network is.
    assert_close(follow.bits_per_pixel, exact, rtol=0.01, atol=0)
    assert follow.summary()["trusted"]
    if recognition == MATCHED:
        assert_close(plain.bits_per_pixel, exact, rtol=0.01, atol=0)
        assert plain.summary()["trusted"]
    else:
        summary = plain.summary()
        assert plain.bits_per_pixel.mean() < 0.5 * exact.mean()
        assert not summary["trusted"]
        assert "100% of the pairs have a Pareto-k above 0.7" in summary["warning"]


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("radius", [0.7, math.inf])
def test_bent_posteriors_agree_with_quadrature(
    memory_pairs: Any, likelihood: str, radius: float, generator: torch.Generator
) -> None:
    model = BentCVAE(likelihood)
    pairs = make_pairs(model, memory_pairs, reach=0.5, shape=(2, 2), noise=0.01)
    result = SufficientLikelihood(2000)(LatentBall(model, radius), pairs, generator=generator)
    exact = level(model, pairs.clean[:4], pairs.changed[:4], radius)

    assert_close(result.bits_per_pixel[:4], exact / math.log(2) / 4, rtol=0.01, atol=0.01)
    named = {"gaussian": "density of images on [0, 1]", "bernoulli": "relative to Bernoulli pixels"}
    assert result.summary()["measure"] == result.measure == named[likelihood]


def test_following_the_ridge_is_worth_draws(memory_pairs: Any, generator: torch.Generator) -> None:
    model = BentCVAE(noise=0.002)
    pairs = make_pairs(model, memory_pairs, reach=0.5, shape=(2, 2), noise=0.002)
    perturbations = LatentBall(model, math.inf)
    follow = SufficientLikelihood(200)(perturbations, pairs, generator=generator)
    plain = SufficientLikelihood(200, ridge=0)(perturbations, pairs, generator=generator)

    assert follow.effective_draws.median() > 30
    assert plain.effective_draws.median() < 10


def test_the_estimate_lies_above_the_evidence_lower_bound(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae(widen=0.7)
    pairs = make_pairs(model, memory_pairs)
    generator = torch.Generator().manual_seed(1)
    result = SufficientLikelihood(1000)(LatentBall(model, math.inf), pairs, generator=generator)
    with torch.no_grad():
        draws = [model(pairs.clean, pairs.changed, torch.randn(COUNT, 2, generator=generator)) for _ in range(500)]
    terms = [model.likelihood.log_prob(draw.statistic, 6) - draw.kl for draw in draws]
    bound = torch.stack(terms).mean(0) / math.log(2) / 6

    # Below by KL(q‖posterior): per coordinate (e^(2·0.7) - 1)/2 - 0.7 nats.
    gap = 2 * ((math.exp(1.4) - 1) / 2 - 0.7) / math.log(2) / 6
    assert_close((result.bits_per_pixel - bound).mean().item(), gap, atol=0.03, rtol=0)


def test_approximation_error_is_the_mean_over_the_ball(
    linear_cvae: Any, memory_pairs: Any, generator: torch.Generator
) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    result = SufficientLikelihood(2000, ridge=0)(LatentBall(model, 1.0), pairs, generator=generator)
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
    result = SufficientLikelihood(16)(LatentBall(model, 2.0), pairs, generator=torch.Generator().manual_seed(1))
    again = SufficientLikelihood(16)(LatentBall(model, 2.0), pairs, generator=torch.Generator().manual_seed(1))

    assert ((result.effective_draws >= 1 - 1e-6) & (result.effective_draws <= 16 + 1e-6)).all()
    assert torch.equal(result.bits_per_pixel, again.bits_per_pixel)
    summary = result.summary()
    bits = summary["bits_per_pixel"]
    assert bits["low"] <= bits["mean"] <= bits["high"]
    assert math.isclose(bits["mean"], result.bits_per_pixel.mean().item(), rel_tol=1e-6)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["median_pareto_k"] is None  # 16 draws have no tail to speak of
    assert not summary["trusted"]
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
    with pytest.raises(ValueError, match="ridge must be 0"):
        SufficientLikelihood(ridge=-1)
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
    assert result.pareto_k.tolist() == [-1.0] * COUNT
    assert result.summary()["doubling_gain"] == 0


@pytest.mark.parametrize("draws", [1, 2, 3, 25])
def test_few_draws_give_a_number_and_say_what_it_is_worth(linear_cvae: Any, memory_pairs: Any, draws: int) -> None:
    model = linear_cvae()
    result = SufficientLikelihood(draws)(LatentBall(model, 2.0), make_pairs(model, memory_pairs))

    assert result.bits_per_pixel.isfinite().all()
    assert json.dumps(result.summary(), allow_nan=False)
    assert result.pareto_k.isfinite().all() == (draws >= 25)
    assert result.summary()["trusted"] <= (draws >= 25)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("ridge", [0, 32])
def test_pairs_whose_images_are_not_finite_are_named(
    linear_cvae: Any, memory_pairs: Any, value: float, ridge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    pairs.clean[[3, 11], 0, 0, 0] = 0.99
    perturbations = LatentBall(model, 2.0)
    sound = perturbations.model._generator.forward

    def broken(images: torch.Tensor, features: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        return sound(images, features, latents).masked_fill(
            (images > 0.9).flatten(1).any(1)[:, None, None, None], value
        )

    monkeypatch.setattr(perturbations.model._generator, "forward", broken)
    with pytest.raises(
        ValueError, match=r"finite images, got NaN or infinity inside the ball on 2 pairs, numbers 3, 11:"
    ):
        SufficientLikelihood(30, ridge)(perturbations, pairs)


def test_results_of_one_measure_on_the_same_pairs_can_be_compared(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    near = SufficientLikelihood(50)(LatentBall(model, 1.0), pairs)
    far = SufficientLikelihood(50)(LatentBall(model, 4.0), pairs)
    gain = near.gain_over(far)

    assert gain.mean == pytest.approx((near.bits_per_pixel - far.bits_per_pixel).mean().item())
    assert gain.low <= gain.mean <= gain.high
    with pytest.raises(ValueError, match="other must have the measure 'density"):
        near.gain_over(replace(far, measure="relative to Bernoulli pixels"))
    with pytest.raises(ValueError, match="the same 12 pairs"):
        near.gain_over(replace(far, source=far.source + 1))
