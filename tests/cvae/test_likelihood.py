from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal
from torch.testing import assert_close

from cvae import BernoulliLikelihood, GaussianLikelihood


def images(generator: torch.Generator, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.rand(2, count, 1, 6, 5, generator=generator).unbind()
    return a, b


def test_gaussian_agrees_with_torch_at_any_scale(generator: torch.Generator) -> None:
    generated, changed = images(generator)
    likelihood = GaussianLikelihood()
    likelihood.calibrate(torch.tensor(30 * 0.3**2), 30)

    ours = likelihood.log_prob(likelihood.statistic(generated, changed), 30)

    assert_close(likelihood.scale, torch.tensor(0.3))
    assert_close(ours, Normal(generated, 0.3).log_prob(changed).flatten(1).sum(1))


def test_closed_form_scale_maximises_the_likelihood(generator: torch.Generator) -> None:
    generated, changed = images(generator, 16)
    likelihood = GaussianLikelihood()
    statistic = likelihood.statistic(generated, changed)
    likelihood.calibrate(statistic.mean(), 30)
    best = likelihood.log_prob(statistic, 30).mean()

    for factor in (0.9, 0.99, 1.01, 1.1):
        worse = Normal(generated, likelihood.scale * factor).log_prob(changed).flatten(1).sum(1).mean()
        assert worse < best


def test_floor_bounds_the_scale_on_constant_background() -> None:
    likelihood = GaussianLikelihood()
    likelihood.calibrate(torch.tensor(0.0), 30)

    assert_close(likelihood.scale, torch.tensor(1 / 510))


def test_floor_must_be_positive() -> None:
    with pytest.raises(ValueError, match="floor must be above 0"):
        GaussianLikelihood(0.0)


def test_bernoulli_agrees_with_cross_entropy(generator: torch.Generator) -> None:
    generated, changed = images(generator)
    likelihood = BernoulliLikelihood()

    ours = likelihood.log_prob(likelihood.statistic(generated, changed), 30)

    theirs = -F.binary_cross_entropy(generated, changed, reduction="none").flatten(1).sum(1)
    assert_close(ours, theirs)


def test_bernoulli_is_finite_for_certain_pixels() -> None:
    black = torch.zeros(1, 1, 2, 2)

    assert torch.isfinite(BernoulliLikelihood().statistic(black, black + 1)).all()
