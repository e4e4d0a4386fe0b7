from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.testing import assert_close

from perturbsets import LatentBall, SufficientLikelihood
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
    v = 1 / (1 + a²/s²).
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
    posterior = [log_share_in_ball(norm, float(variance), size, radius) for norm in centre.norm(dim=1).tolist()]
    prior_share = stats.chi(size).logcdf(radius)
    return marginal + torch.tensor(posterior) - prior_share


def log_share_in_ball(norm: float, variance: float, size: int, radius: float) -> float:
    """Logarithm of P(‖c + √v z‖ ≤ r): the density of the norm, integrated over the logarithm of the depth below r.

    The density has a Bessel function in it, which SciPy scales by an exponential. Its own noncentral chi-square
    distribution function is 0 where c is far outside of the ball.
    """
    depth, order = np.geomspace(radius * 1e-20, radius, 6_001), size / 2 - 1
    rho = np.maximum(radius - depth, 1e-12)
    log_density = np.log(rho / variance) + order * np.log(rho / norm) - (rho - norm) ** 2 / (2 * variance)
    log_density += np.log(special.ive(order, rho * norm / variance))
    weights = np.full_like(depth, math.log(depth[1] / depth[0]))
    weights[-1] /= 2  # the trapezoidal rule
    return float(special.logsumexp(log_density + np.log(depth), b=weights))


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("norm", [0.3, 1.0, 1.5])
def test_the_reference_agrees_with_closed_forms(size: int, norm: float) -> None:
    found = log_share_in_ball(norm, 0.1, size, 1.0)
    assert found == pytest.approx(stats.ncx2.logcdf(10, size, norm**2 / 0.1), abs=5e-5)
    if size == 1:  # far outside, where the latter is the logarithm of 0
        far = log_share_in_ball(100.0, 0.1, size, 1.0)
        low, high = special.log_ndtr((np.array([-1.0, 1.0]) - 100) / math.sqrt(0.1))
        assert far == pytest.approx(high + math.log1p(-math.exp(low - high)), rel=1e-9)


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
    assert result.trusted


RECOGNITION = {"good": (0.0, 0.0), "biased": (0.0, 0.5), "useless": None}
SETTINGS = [
    (size, noise, where, recognition)
    for place, (size, noise, where) in enumerate(
        itertools.product((1, 2, 4, 8, 16), (0.005, 0.02, 0.1), ("inside", "at", "outside"))
    )
    for recognition in [list(RECOGNITION)[(place + place // 3) % 3]]
]


def setting(linear_cvae: Any, memory_pairs: Any, size: int, noise: float, where: str, recognition: str) -> Any:
    """A linear model and pairs whose encodings lie inside the ball, about its surface, or far outside."""
    shape = {8: (2, 4), 16: (4, 4)}.get(size, (2, 2))
    model = linear_cvae(latent=size, height=shape[0], width=shape[1], noise=noise)
    layer, kind = model._recognition[1], RECOGNITION[recognition]
    with torch.no_grad():
        if kind is None:  # the prior's scale around 0, whatever comes
            layer.weight.zero_()
            layer.bias.copy_(torch.cat([torch.zeros(size), torch.full((size,), 7 * math.atanh(math.log(0.5) / 7))]))
        else:
            layer.bias[:size] += kind[1]
    radius = 2.0 if size == 1 else 1.2 * math.sqrt(size)
    draw = torch.Generator().manual_seed(5)
    clean = 0.4 + 0.2 * torch.rand(COUNT, 1, *shape, generator=draw)
    directions = torch.nn.functional.normalize(torch.randn(COUNT, size, generator=draw))
    with torch.no_grad():
        changed = model.decode(clean, {"inside": 0.6, "at": 1.0, "outside": 2.0}[where] * radius * directions)
    changed = changed + noise * torch.randn(changed.shape, generator=draw)
    return model, memory_pairs(clean, changed, torch.arange(COUNT)), radius


@pytest.mark.parametrize(("size", "noise", "where", "recognition"), SETTINGS)
def test_what_is_trusted_is_right_to_a_hundredth_of_a_bit(
    linear_cvae: Any, memory_pairs: Any, size: int, noise: float, where: str, recognition: str
) -> None:
    model, pairs, radius = setting(linear_cvae, memory_pairs, size, noise, where, recognition)
    result = SufficientLikelihood(1000)(LatentBall(model, radius), pairs, generator=torch.Generator().manual_seed(1))
    exact = exact_level(model, pairs, radius) / math.log(2) / model.pixels

    assert result.trusted
    assert result.bits_per_pixel.mean().item() == pytest.approx(exact.mean().item(), abs=0.01)
    assert result.at_least <= exact.mean()


def test_what_is_broken_is_flagged_and_a_lower_bound(linear_cvae: Any, memory_pairs: Any) -> None:
    measured, runs, flagged, above = SufficientLikelihood(40, ridge=0), 3, 0, 0  # the recognition network alone
    limit = float(stats.t(runs - 1).ppf(1 - 0.01 / len(SETTINGS))) / math.sqrt(runs)
    generator = torch.Generator().manual_seed(1)
    for case in SETTINGS:
        model, pairs, radius = setting(linear_cvae, memory_pairs, *case)
        exact = float(exact_level(model, pairs, radius).mean()) / math.log(2) / model.pixels
        results = [measured(LatentBall(model, radius), pairs, generator=generator) for _ in range(runs)]
        means = torch.tensor([float(result.bits_per_pixel.mean()) for result in results])

        # In expectation a lower bound; a single one lies above the truth with probability 5 % at most.
        assert means.mean() <= exact + limit * means.std(), case
        above += sum(result.at_least > exact for result in results)
        for result, mean in zip(results, means.tolist(), strict=True):
            if abs(mean - exact) > 0.01:
                assert not result.trusted, case
                assert "A lower bound, not to be trusted as an estimate" in result.warning
                flagged += 1
    assert above <= 0.05 * runs * len(SETTINGS)
    assert flagged > 0.5 * runs * len(SETTINGS)


def test_one_broken_pair_among_many_is_enough(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    sound = SufficientLikelihood(1000)(LatentBall(model, 2.0), make_pairs(model, memory_pairs))
    first = torch.arange(COUNT) == 0
    broken = replace(
        sound,
        bits_per_pixel=sound.bits_per_pixel.masked_fill(first, -100.0),
        effective_draws=sound.effective_draws.masked_fill(first, 1.0),
        pareto_k=sound.pareto_k.masked_fill(first, math.inf),
    )
    heavy = replace(sound, effective_draws=sound.effective_draws * 0 + 100, pareto_k=sound.pareto_k * 0 + 0.9)

    assert sound.trusted
    assert sound.warning == sound.summary()["warning"] == ""
    assert not broken.trusted
    assert not broken.summary()["bits_per_pixel"]["trusted"]
    # It may lie anywhere up to the ceiling, -3 ln 2πs² nats, however wide it makes the interval over pairs.
    ceiling = -math.log2(2 * math.pi * 0.1**2) / 2
    assert broken.doubt == pytest.approx((ceiling + 100) / COUNT, abs=0.01)
    assert f"1 of {COUNT} pairs" in broken.warning
    assert f"higher by {broken.doubt:.2g} bits" in broken.warning
    # Below k = 1 the tail has a mean: 1000^(-0.1), half of it, is beyond the largest draw.
    assert heavy.doubt == pytest.approx(-math.log2(1 - 1000**-0.1) / 6)
    unlikely = math.log(20) / (COUNT * 6 * math.log(2))
    assert sound.at_least == pytest.approx(sound.bits_per_pixel.mean().item() - unlikely)


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
    assert follow.trusted
    if recognition == MATCHED:
        assert_close(plain.bits_per_pixel, exact, rtol=0.01, atol=0)
        assert plain.trusted
    else:
        assert plain.bits_per_pixel.mean() < 0.5 * exact.mean()
        assert not plain.trusted
        assert "12 of 12 pairs have weights with a Pareto-k above 0.7" in plain.warning


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
    assert not bits["trusted"]
    assert bits["at_least"] == result.at_least < bits["mean"]
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
    assert result.doubt == 0
    assert result.trusted


@pytest.mark.parametrize("draws", [1, 2, 3, 25])
def test_few_draws_give_a_number_and_say_what_it_is_worth(linear_cvae: Any, memory_pairs: Any, draws: int) -> None:
    model = linear_cvae()
    result = SufficientLikelihood(draws)(LatentBall(model, 2.0), make_pairs(model, memory_pairs))

    assert result.bits_per_pixel.isfinite().all()
    assert json.dumps(result.summary(), allow_nan=False)
    assert result.pareto_k.isfinite().all() == (draws >= 25)
    assert result.trusted <= (draws >= 25)


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
        SufficientLikelihood(30, ridge=ridge)(perturbations, pairs)


def test_results_of_one_measure_on_the_same_pairs_can_be_compared(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    near = SufficientLikelihood(1000)(LatentBall(model, 1.0), pairs)
    far = SufficientLikelihood(1000)(LatentBall(model, 4.0), pairs)
    gain = near.gain_over(far)

    assert gain.mean == pytest.approx((near.bits_per_pixel - far.bits_per_pixel).mean().item())
    assert gain.low <= gain.mean <= gain.high
    few = SufficientLikelihood(10)(LatentBall(model, 4.0), pairs)
    with pytest.raises(ValueError, match=r"other must be trusted .* SufficientLikelihood\(draws=40\)"):
        near.gain_over(few)
    while not few.trusted:  # what the message says
        few = SufficientLikelihood(4 * few.draws)(LatentBall(model, 4.0), pairs)
    assert near.gain_over(few).mean == pytest.approx(gain.mean, abs=0.02)
    with pytest.raises(ValueError, match="other must have the measure 'density"):
        near.gain_over(replace(far, measure="relative to Bernoulli pixels"))
    with pytest.raises(ValueError, match="the same 12 pairs"):
        near.gain_over(replace(far, source=far.source + 1))
