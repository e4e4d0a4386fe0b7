from __future__ import annotations

import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.testing import assert_close

from cvae import DiagonalGaussian


def pair(generator: torch.Generator) -> tuple[DiagonalGaussian, DiagonalGaussian]:
    draws = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(draws[0], draws[1]), DiagonalGaussian(draws[2], draws[3])


def test_density_and_divergence_agree_with_torch(generator: torch.Generator) -> None:
    p, q = pair(generator)
    theirs_p, theirs_q = (Independent(Normal(d.mean, d.scale), 1) for d in (p, q))
    z = torch.randn(3, 5, generator=generator, dtype=torch.float64)

    assert_close(p.log_prob(z), theirs_p.log_prob(z))
    assert_close(p.kl(q), kl_divergence(theirs_p, theirs_q))
    assert_close(p.kl(p), torch.zeros(3, dtype=torch.float64))


def test_offsets_count_standard_deviations_and_not_variances(generator: torch.Generator) -> None:
    prior = DiagonalGaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([[2.0, 4.0]]).log())

    assert_close(prior.offsets(torch.tensor([[5.0, -2.0]])), torch.tensor([[2.0, 0.0]]))
    assert_close(prior.at(torch.tensor([[2.0, 0.5]])), torch.tensor([[5.0, 0.0]]))


def test_scales_from_features_stay_finite() -> None:
    wild = DiagonalGaussian.from_features(torch.tensor([[0.0, 1e6], [0.0, -1e6]]))

    assert torch.isfinite(wild.scale).all()
    assert (wild.scale > 0).all()
