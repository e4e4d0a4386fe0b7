"""The theorems against cases in which both sides are known."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from cvae import BernoulliLikelihood, GaussianLikelihood
from perturbsets.criteria.theorems.bounds import ceiling, error_bound, likelihood_bound, mean_error_bound
from perturbsets.criteria.theorems.tail import divergence, log_outside, outside_bound, paper_outside

ROUNDING = 1e-9
CASES = 200


class Case(NamedTuple):
    """What the theorems need of many pairs, and both properties themselves."""

    gap: Tensor
    per_nat: Tensor
    kl: Tensor
    outside: Tensor
    log_beta: Tensor
    largest: Tensor
    error: Tensor
    level: Tensor


def between(low: float, high: float, *shape: int) -> Tensor:
    return (math.log(low) + math.log(high / low) * torch.rand(*shape, dtype=torch.float64)).exp()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def linear(size: int) -> tuple[Case, Tensor, Tensor]:
    """Generator w Qu with orthonormal columns of Q and isotropic q: all that follows is known in closed form.

    In the coordinates of Q the image is y, and r² of it is out of reach. The posterior is isotropic as well, so that
    masses of balls are those of noncentral chi-square distributions.
    """
    gain, noise = between(0.1, 3, CASES), between(0.05, 1, CASES)
    scale, radius = between(0.03, 1.5, CASES), between(0.2, 8, CASES)
    shift = between(0.1, 3, CASES, 1) * normal(CASES, size)
    pixels = size + 4
    seen = gain[:, None] * shift + between(0.01, 2, CASES, 1) * normal(CASES, size)
    rest = (noise[:, None] * normal(CASES, 4)).square().sum(1)

    kl = size * (scale.square() - 1 - 2 * scale.log()) / 2 + shift.square().sum(1) / 2
    lost = (gain[:, None] * shift - seen).square().sum(1) + size * (gain * scale).square() + rest
    outside = stats.ncx2.sf(
        *(v.numpy() for v in ((radius / scale).square(), torch.full_like(kl, size))),
        (shift.norm(dim=1) / scale).square().numpy(),
    )
    nearest = (seen.norm(dim=1) - gain * radius).clamp_min(0).square() + rest
    total = noise.square() + gain.square()
    evidence = -(seen.square().sum(1) / total + size * (2 * math.pi * total).log()) / 2
    evidence = evidence - (rest / noise.square() + 4 * (2 * math.pi * noise.square()).log()) / 2
    spread = noise.square() / total
    centre = (gain[:, None] * seen).norm(dim=1) / total
    held = stats.ncx2.logcdf((radius.square() / spread).numpy(), size, (centre.square() / spread).numpy())
    log_beta = log_outside(radius, size)
    level = evidence + torch.from_numpy(held) - torch.log(-torch.expm1(log_beta))
    largest = -pixels * (2 * math.pi * noise.square()).log() / 2
    per_nat = 2 * noise.square()
    columns = (lost / per_nat, per_nat, kl, torch.from_numpy(outside), log_beta, largest, nearest, level)
    known = torch.from_numpy(held) > -500  # below, doubles know nothing of the posterior's mass in the ball
    assert known.sum() >= 100
    return Case(*(column[known] for column in columns)), radius[known], scale[known]


def finite(points: int = 8) -> Case:
    """Latents of a few values, all of them drawn anew: any generator and any recognition distribution."""
    prior, encoding = (
        torch.distributions.Dirichlet(torch.full((points,), share)).sample((CASES,)).double() for share in (1.0, 0.3)
    )
    prior, encoding = ((p + 1e-12) / (p + 1e-12).sum(1, keepdim=True) for p in (prior, encoding))
    lost = between(0.01, 30, CASES, points)
    out = torch.arange(points) >= torch.randint(1, points, (CASES, 1))
    outside, beta = (encoding * out).sum(1), (prior * out).sum(1)
    inside = (prior * (-lost).exp() * ~out).sum(1) / (prior * ~out).sum(1)
    largest = normal(CASES)
    return Case(
        (encoding * lost).sum(1),
        torch.ones(CASES, dtype=torch.float64),
        (encoding * (encoding / prior).log()).sum(1),
        outside,
        beta.log(),
        largest,
        lost.masked_fill(out, math.inf).amin(1),
        largest + inside.log(),
    )


def check(case: Case, outside: Tensor) -> None:
    error = error_bound(case.per_nat * case.gap, outside)
    level = likelihood_bound(case.gap, case.kl, outside, case.log_beta, case.largest)

    assert bool((case.outside <= outside + ROUNDING).all())
    assert bool((case.error <= error * (1 + ROUNDING)).all())
    # Noncentral masses come with a relative error of some 1e-8.
    assert bool((case.level >= level - 1e-6).all())


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_no_linear_case_breaks_a_bound(size: int) -> None:
    case, radius, scale = linear(size)
    rungs = {
        "exact": case.outside,
        "lemma": outside_bound(case.kl, case.log_beta),
        "ratios": paper_outside(radius, case.kl, size, scale),
        "paper": paper_outside(radius, case.kl, size),
    }
    for outside in rungs.values():
        check(case, outside)

    # As if all mass were inside, or q were the prior there, they are broken: the cases are hard enough.
    assert not bool((case.error <= error_bound(case.per_nat * case.gap, 0.0)).all())
    assert not bool((case.level >= likelihood_bound(case.gap, case.kl, 0.0, case.log_beta, case.largest)).all())
    assert not bool((case.outside <= case.log_beta.exp()).all())
    assert not bool((case.outside <= paper_outside(radius, case.kl / 4, size, scale / 2)).all())


def test_no_finite_case_breaks_a_bound() -> None:
    case = finite()
    check(case, case.outside)
    check(case, outside_bound(case.kl, case.log_beta))

    assert not bool((case.error <= error_bound(case.gap, 0.0)).all())
    assert not bool((case.level >= likelihood_bound(case.gap, case.kl, 0.0, case.log_beta, case.largest)).all())
    assert not bool((case.outside <= outside_bound(case.kl / 2, case.log_beta)).all())


def test_no_curved_case_breaks_a_bound() -> None:
    """A generator of sines in two dimensions, with quadrature over the ball and many draws from q."""
    count, draws = 100, 4000
    angle, share = torch.arange(60) * 2 * math.pi / 60, (torch.arange(60) + 0.5) / 60
    radius = between(0.3, 4, count)
    reach = radius[:, None] * share
    grid = reach[:, :, None, None] * torch.stack([angle.cos(), angle.sin()], 1).double()
    grid = grid.flatten(1, 2)
    log_weight = (reach.log() - reach.square() / 2).repeat_interleave(60, 1).log_softmax(1)
    mix, bend = normal(count, 2, 4), normal(count, 2, 4)

    def generate(latents: Tensor) -> Tensor:
        return (latents @ bend).sin() + 0.3 * latents @ mix

    shift, scale = 1.5 * normal(count, 2), between(0.05, 1.5, count, 2)
    noise = between(0.05, 0.5, count)
    image = generate(shift[:, None])[:, 0] + noise[:, None] * normal(count, 4)
    drawn = shift[:, None] + scale[:, None] * normal(count, draws, 2)
    lost = (generate(drawn) - image[:, None]).square().sum(2) / (2 * noise.square())[:, None]
    squares = (generate(grid) - image[:, None]).square().sum(2)
    case = Case(
        gap=lost.mean(1) + 4 * lost.std(1) / math.sqrt(draws),
        per_nat=2 * noise.square(),
        kl=(scale.square() + shift.square() - 1 - 2 * scale.log()).sum(1) / 2,
        outside=(drawn.norm(dim=2) > radius[:, None]).double().mean(1),
        log_beta=log_outside(radius, 2),
        largest=-2 * (2 * math.pi * noise.square()).log(),
        error=squares.amin(1),
        level=torch.logsumexp(log_weight - squares / (2 * noise.square())[:, None], 1)
        - 2 * (2 * math.pi * noise.square()).log(),
    )
    exact = (case.outside + 4 * (case.outside * (1 - case.outside) / draws).sqrt() + 1e-3).clamp_max(1)
    check(case, exact)
    check(case, torch.maximum(outside_bound(case.kl, case.log_beta), case.outside))

    assert bool((case.outside <= outside_bound(case.kl, case.log_beta) + 0.03).all())  # draws err by some hundredths
    assert not bool((case.error <= case.per_nat * case.gap).all())
    assert not bool((case.level >= likelihood_bound(case.gap, case.kl, 0.0, case.log_beta, case.largest)).all())


def test_bounds_of_one_pair_are_reached() -> None:
    points, inside = 7, 4
    prior = torch.distributions.Dirichlet(torch.ones(points, dtype=torch.float64)).sample()
    lost = torch.cat([between(0.1, 3, inside), torch.zeros(points - inside, dtype=torch.float64)])
    beta = prior[inside:].sum()
    alpha = beta / 2
    # Outside q is the prior and loses nothing; inside it is the posterior.
    posterior = (prior * (-lost).exp())[:inside]
    encoding = torch.cat([(1 - alpha) * posterior / posterior.sum(), alpha * prior[inside:] / beta])
    gap, kl = encoding @ lost, encoding @ (encoding / prior).log()
    level = (posterior.sum() / (1 - beta)).log()

    assert likelihood_bound(gap, kl, alpha, beta.log(), 0.0).item() == pytest.approx(level.item(), rel=1e-12)
    # With the same error everywhere inside and none outside, D is exactly (1 - α) of it.
    assert error_bound((1 - alpha) * 2.5, alpha).item() == pytest.approx(2.5, rel=1e-12)


def test_the_likelihood_bound_keeps_to_the_worst_share_below_the_one_given() -> None:
    gap, kl, log_beta = torch.tensor(0.4).double(), torch.tensor(0.5).double(), torch.tensor(-1.5).double()
    shares = torch.linspace(0, 0.999, 2001, dtype=torch.float64)
    at = -(gap + kl - divergence(shares, log_beta)) / (1 - shares)
    bound = likelihood_bound(gap, kl, shares, log_beta, 0.0)

    assert_close(bound, at.cummin(0).values, rtol=1e-5, atol=0)  # the grid misses the least by a little
    assert float(at[-1]) > float(bound[-1]) + 1  # from there on the formula by itself would promise too much
    # At the least nothing is left of α: it is what the evidence bound leaves when all outside is at its best.
    direct = math.log(math.exp(-0.9) - math.exp(-1.5)) - math.log1p(-math.exp(-1.5))
    assert bound[-1].item() == pytest.approx(direct)
    # Never below the form without the divergence of the coins.
    assert bool((bound >= -(gap + kl) / (1 - shares) - ROUNDING).all())


def test_a_large_ball_gives_the_evidence_bound() -> None:
    bound = likelihood_bound(3.0, 2.0, outside_bound(2.0, log_outside(1e4, 16)), log_outside(1e4, 16), 7.0)

    assert bound.item() == pytest.approx(7 - 3 - 2, abs=1e-5)


def test_where_nothing_is_known_nothing_is_proven() -> None:
    log_beta = torch.tensor(-0.1)

    assert error_bound(0.0, 1.0) == math.inf
    assert likelihood_bound(5.0, 2.0, 1.0, log_beta, 1.0) == -math.inf


def test_averages_bound_the_mean_error_and_are_reached() -> None:
    log_beta = torch.tensor(math.log(0.02), dtype=torch.float64)
    mass = torch.rand(CASES, dtype=torch.float64).square()
    error = 9 * mass.sqrt()  # the same at all of the ball, and none outside
    distortion, kl = (1 - mass) * error, divergence(mass, log_beta)
    bound = mean_error_bound(distortion.mean(), outside_bound(kl.mean(), log_beta), 9.0)

    assert error.mean() <= bound
    assert bound < 9
    assert error.mean() > distortion.mean()  # without the second term it would be broken
    # A share of the pairs lies outside, at the largest error; the others inside, at theirs.
    share, near, far = 0.2, 0.5, 9.0
    assert mean_error_bound((1 - share) * near, share, far).item() == pytest.approx(share * far + (1 - share) * near)


def test_averages_by_markovs_inequality_prove_no_more() -> None:
    distortion, mass = between(1e-3, 10, 500, 1), torch.rand(500, 1, dtype=torch.float64)
    cut = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
    by_markov = distortion / (1 - cut) + 7 * mass / cut

    assert bool((mean_error_bound(distortion, mass, 7.0) <= by_markov).all())


@pytest.mark.parametrize("likelihood", [GaussianLikelihood(), BernoulliLikelihood()], ids=["gaussian", "bernoulli"])
def test_a_nat_below_the_ceiling_bounds_the_squared_error(likelihood: GaussianLikelihood | BernoulliLikelihood) -> None:
    changed = torch.cat([torch.rand(300, 1, 2, 3), torch.rand(300, 1, 2, 3).round()]).double()
    generated = (changed + between(1e-3, 1, 600, 1, 1, 1) * normal(600, 1, 2, 3)).clamp(0, 1)
    if isinstance(likelihood, GaussianLikelihood):
        likelihood.scale.fill_(0.3)
    best = ceiling(likelihood, changed)
    lost = best.log_prob - likelihood.log_prob(likelihood.statistic(generated, changed), 6)
    square = (generated - changed).square().flatten(1).sum(1)

    assert bool((square <= best.squares_per_nat * lost + 1e-9).all())
    if isinstance(likelihood, GaussianLikelihood):
        assert_close(square, best.squares_per_nat * lost, rtol=1e-5, atol=1e-9)  # the scale is kept in float32
        assert best.log_prob[0].item() == pytest.approx(-3 * math.log(2 * math.pi * 0.09), rel=1e-6)
    else:
        grey = torch.full((1, 1, 2, 3), 0.5, dtype=torch.float64)  # where a smaller factor would be wrong
        lost = ceiling(likelihood, grey).log_prob + likelihood.statistic(grey + 0.01, grey)
        assert float(lost) < 1.001 * 2 * 6 * 0.01**2
        p = changed.flatten(1).numpy()
        entropy = stats.entropy(np.stack([p, 1 - p]), axis=0).sum(1)
        np.testing.assert_allclose(best.log_prob, -entropy, atol=1e-12)
