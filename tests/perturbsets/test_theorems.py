from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from cvae import ConvCVAE
from perturbsets import LatentBall, NecessarySubset, SufficientLikelihood, Theorems
from perturbsets.criteria.theorems.bounds import norm_limit
from perturbsets.criteria.theorems.tail import log_outside, outside_bound
from perturbsets.share_bounds import share_at_most

COUNT = 40
RADIUS = 2.0


def make_pairs(model: Any, memory_pairs: Any, count: int = COUNT, reach: float = 1.0) -> Any:
    clean = 0.4 + 0.2 * torch.rand(count, 1, 2, 3)
    with torch.no_grad():
        changed = model.decode(clean, reach * torch.randn(count, 2)) + 0.1 * torch.randn(count, 1, 2, 3)
    return memory_pairs(clean, changed.clamp(0, 1), torch.arange(count))


def known(model: Any, pairs: Any) -> dict[str, Tensor]:
    """Of a linear generator everything is known: the prior and the recognition distribution are isotropic."""
    prior = model.prior(model.context(pairs.clean))
    posterior = model.recognition(pairs.clean, pairs.changed)
    basis = model._generator.basis.double()
    rest = (pairs.changed - pairs.clean).flatten(1).double() - posterior.mean.double() @ basis.T
    spread = posterior.scale.double().square() @ basis.square().sum(0)
    shift = prior.offsets(posterior.mean).double().norm(dim=1)
    ratio = (posterior.scale / prior.scale).double()[:, 0]
    outside = stats.ncx2.sf((RADIUS / ratio).square().detach(), 2, (shift / ratio).square().detach())
    return {
        "distortion": ((rest.square().sum(1) + spread) / 6).detach(),
        "kl": (shift.square() / 2 + ratio.square() - 1 - 2 * ratio.log()).detach(),
        "ratio": ratio.detach(),
        "outside": torch.from_numpy(outside),
        "shift": shift.detach(),
    }


def test_figures_of_a_linear_model_are_the_exact_ones(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae(widen=0.3)
    pairs = make_pairs(model, memory_pairs)
    exact = known(model, pairs)
    result = Theorems(draws=400)(LatentBall(model, RADIUS), pairs, generator=torch.Generator().manual_seed(3))

    assert_close(result.kl, exact["kl"], rtol=1e-5, atol=1e-6)
    assert_close(result.ratio, exact["ratio"], rtol=1e-5, atol=0)
    assert_close(result.distortion, exact["distortion"], rtol=0.15, atol=0)  # 400 draws each
    assert_close(result.distortion.mean(), exact["distortion"].mean(), rtol=0.02, atol=0)
    assert bool((result.exact.outside >= exact["outside"]).all())
    assert_close(result.exact.outside, exact["outside"], rtol=0.2, atol=0.02)  # limits for all pairs at once
    assert_close(result.lemma.outside, outside_bound(exact["kl"], log_outside(RADIUS, 2)), rtol=1e-4, atol=0)
    # The radius that leaves half outside, from the same distributions.
    held = stats.ncx2.cdf(
        (result.exact.radius / exact["ratio"]).square(), 2, (exact["shift"] / exact["ratio"]).square()
    )
    assert bool((torch.from_numpy(held) >= 0.5).all())
    assert held.max() < 0.54


def test_what_is_measured_is_never_worse_than_what_is_proven(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae(widen=0.2)
    pairs = make_pairs(model, memory_pairs)
    for radius in (0.5, 2.0, 6.0):
        ball = LatentBall(model, radius)
        result = Theorems(draws=100)(ball, pairs, generator=torch.Generator().manual_seed(1))
        compared = result.compare(
            error=NecessarySubset(20, restarts=1)(ball, pairs).search,
            bits_per_pixel=SufficientLikelihood(200)(ball, pairs).bits_per_pixel,
        )

        for rung in compared.values():
            assert not rung["error"].get("worse")
            assert not rung["bits_per_pixel"].get("worse")
            if rung["error"]["pairs"]:
                assert rung["error"]["measured"] < rung["error"]["proven"]
    assert compared["exact"]["error"]["pairs"] == COUNT  # the large ball holds all
    # A hundredth of D is less than the least error of some pairs: the comparison can fail.
    worse = replace(result, exact=result.exact._replace(error=result.distortion / 100))
    errors = NecessarySubset(20, restarts=1)(LatentBall(model, 0.5), pairs).search
    assert worse.compare(error=errors, bits_per_pixel=errors)["exact"]["error"]["worse"] > 0


def test_a_bound_fails_about_as_often_as_its_confidence_leaves(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()  # its recognition distributions are the posteriors: the bound is the level, but for the draws
    pairs = make_pairs(model, memory_pairs, count=600)
    prior = model.prior(model.context(pairs.clean))
    basis = model._generator.basis.detach().double()
    rest = (pairs.changed - pairs.clean).flatten(1).double() - prior.mean.detach().double() @ basis.T
    covariance = 0.1**2 * torch.eye(6, dtype=torch.float64) + 0.5**2 * basis @ basis.T
    exact = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), covariance).log_prob(rest)
    result = Theorems(draws=16, confidence=0.9)(LatentBall(model, 20.0), pairs)
    bits = exact / math.log(2) / 6
    found = result.compare(error=result.distortion, bits_per_pixel=bits)["exact"]["bits_per_pixel"]

    # What is measured is exact, and yet worse than what is proven: for 5 % of the pairs, and for more as losses of few
    # draws are skewed.
    assert 0.05 < found["worse"] / found["pairs"] < 0.15


def test_limits_of_losses_hold_as_often_as_they_say(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae(widen=0.3)
    pairs = make_pairs(model, memory_pairs, count=600)
    exact = known(model, pairs)["distortion"]
    result = Theorems(draws=64, tail_draws=2000, confidence=0.9)(LatentBall(model, RADIUS), pairs)

    # 95 % each for itself, less some percent since squares of few coordinates are skewed; the mean has much to spare.
    assert (result.distortion_high >= exact).double().mean() > 0.9
    assert (result.distortion_high < exact).any()
    assert result.distortion_high.mean() > exact.mean()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_limits_of_shares_hold_as_often_as_they_say(share: float, generator: torch.Generator) -> None:
    hits = torch.binomial(torch.full((2000,), 200.0), torch.tensor(share).expand(2000), generator=generator).long()
    below = (share_at_most(hits, 200, 0.1) < share).double().mean()

    assert below <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 2000)
    if share == 0.3:
        assert below > 0.05
        k = int(hits[0])
        assert share_at_most(hits, 200, 0.1)[0].item() == pytest.approx(stats.beta.ppf(0.9, k + 1, 200 - k))


def test_limits_of_radii_hold_as_often_as_they_say(generator: torch.Generator) -> None:
    squares = torch.rand(300, 2000, generator=generator, dtype=torch.float64).square()
    below = (norm_limit(squares, 0.3, 0.1) < 0.7).double().mean()

    assert 0.04 < below <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 2000)
    assert bool(norm_limit(squares[:3], 0.01, 0.1).isinf().all())


def test_rungs_need_larger_balls_the_less_they_know(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    result = Theorems(draws=8)(LatentBall(model, RADIUS), make_pairs(model, memory_pairs, reach=2.0))

    assert bool((result.exact.radius <= result.lemma.radius).all())
    assert bool((result.exact.radius <= result.paper_ratios.radius).all())
    assert bool((result.paper_ratios.radius <= result.paper.radius).all())
    assert bool((result.paper_ratios.outside <= result.paper.outside).all())


def test_the_summary_counts_what_proves_nothing(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    small, large = (Theorems(draws=8)(LatentBall(model, radius), pairs) for radius in (0.01, 1e3))
    figures = small.summary()
    again = json.loads(json.dumps(figures, allow_nan=False))

    assert again == figures
    for rung in figures["rungs"].values():
        assert rung["error"] == {"vacuous": COUNT}
        assert rung["bits_per_pixel"] == {"vacuous": COUNT}
    assert figures["averages"] == 1
    assert json.dumps(small.compare(error=small.kl, bits_per_pixel=small.kl), allow_nan=False)
    # In a large ball the bounds are those of reconstruction and evidence.
    rungs = large.summary()["rungs"]
    assert all(rung["error"]["vacuous"] == 0 for rung in rungs.values())
    assert rungs["paper"]["error"]["mean"] == pytest.approx(large.distortion_high.mean().item(), rel=1e-6)
    evidence = (large.distortion_high * 6 / 0.02 + large.kl).mean().item()
    ceiling = -3 * math.log(2 * math.pi * 0.01)
    assert rungs["lemma"]["bits_per_pixel"]["mean"] == pytest.approx((ceiling - evidence) / 6 / math.log(2), rel=1e-3)
    assert large.summary()["averages"] == pytest.approx(large.distortion_high.mean().item(), rel=0.01)


def test_bernoulli_pixels(memory_pairs: Any) -> None:
    model = ConvCVAE(channels=1, height=8, width=8, latent=3, likelihood="bernoulli").eval()
    pairs = memory_pairs(torch.rand(20, 1, 8, 8), torch.rand(20, 1, 8, 8).round(decimals=1), torch.arange(20))
    ball = LatentBall(model, 3.0)
    result = Theorems(draws=16)(ball, pairs)
    found = NecessarySubset(10, restarts=1)(ball, pairs)
    level = SufficientLikelihood(64)(ball, pairs).bits_per_pixel
    compared = result.compare(error=found.search, bits_per_pixel=level)["exact"]

    assert compared["error"]["pairs"] == 20
    assert compared["error"]["worse"] == 0
    assert compared["bits_per_pixel"]["worse"] == 0
    assert bool((result.distortion >= found.reconstruction).all())


def test_the_same_generator_gives_the_same_figures(linear_cvae: Any, memory_pairs: Any) -> None:
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    first, again = (
        Theorems(draws=4, tail_draws=100)(LatentBall(model, RADIUS), pairs, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )

    assert torch.equal(first.exact.bits_per_pixel, again.exact.bits_per_pixel)
    assert torch.equal(first.exact.outside, again.exact.outside)
    assert first.summary() == again.summary()


def test_impossible_settings_are_refused(linear_cvae: Any, memory_pairs: Any) -> None:
    for name in ("draws", "tail_draws"):
        with pytest.raises(ValueError, match=f"{name} must be at least 2, got 1"):
            Theorems(**{name: 1})
    for name in ("outside", "confidence"):
        for value in (0.0, 1.0, math.nan):
            with pytest.raises(ValueError, match=f"{name} must be in"):
                Theorems(**{name: value})
    model = linear_cvae()
    pairs = make_pairs(model, memory_pairs)
    with pytest.raises(ValueError, match="radius of perturbations must be finite"):
        Theorems()(LatentBall(model, math.inf), pairs)
    empty = memory_pairs(torch.rand(0, 1, 2, 3), torch.rand(0, 1, 2, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one pair"):
        Theorems()(LatentBall(model, 1.0), empty)
    result = Theorems(draws=2, tail_draws=10)(LatentBall(model, 1.0), pairs)
    with pytest.raises(ValueError, match="error must hold one figure for each of the 40 pairs, got 3"):
        result.compare(error=torch.rand(3), bits_per_pixel=torch.rand(3))
    model._generator.basis.data.fill_(math.nan)
    with pytest.raises(ValueError, match="finite images"):
        Theorems(draws=2, tail_draws=10)(LatentBall(model, 1.0), pairs)
