"""A conditional VAE whose posteriors are bent: two offsets, the second known sharply only where the first is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from cvae import CVAE, Networks
from perturbsets.sets.balls import log_chi_cdf


class _Constant(nn.Module):
    def __init__(self, mean: float, log_scale: float) -> None:
        super().__init__()
        bounded = 7 * math.atanh(log_scale / 7)  # undoes the bound on log-scales
        self.register_buffer("numbers", torch.tensor([[mean, mean, bounded, bounded]]))
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.numbers.expand(len(images), -1) + self.weight  # type: ignore[operator]


class _Bent(nn.Module):
    def forward(self, images: Tensor, features: Tensor, latents: Tensor) -> Tensor:
        first, second = latents.unbind(1)
        pixels = torch.stack([0.3 * first, second + first.square(), 0.2 * second, first * 0.1], 1)
        return torch.sigmoid(0.5 * pixels).view(images.shape) * (0.9 + 0.1 * images)


class BentCVAE(CVAE):
    """Prior N(0, I), recognition N(mean, scale²) whatever comes."""

    def __init__(
        self, likelihood: str = "gaussian", noise: float = 0.01, mean: float = 0.3, scale: float = 0.3
    ) -> None:
        networks = Networks(nn.Flatten(), _Constant(0.0, 0.0), _Constant(mean, math.log(scale)), _Bent())
        super().__init__(networks, latent=2, shape=(1, 2, 2), likelihood=likelihood)
        if likelihood == "gaussian":
            self.likelihood.scale.fill_(noise)  # type: ignore[union-attr, operator]
        self.eval()


@torch.no_grad()
def level(model: Any, clean: Tensor, changed: Tensor, radius: float, points: int = 1000) -> Tensor:
    """Logarithm of the level by quadrature, per pair; the normal has nothing beyond a norm of 7."""
    reach = min(radius, 7.0)
    line = ((torch.arange(points, dtype=torch.float64) + 0.5) / points * 2 - 1) * reach
    u = torch.cartesian_prod(line, line)
    u = u[u.norm(dim=1) <= radius]
    normal = -0.5 * u.square().sum(1) - math.log(2 * math.pi) + 2 * math.log(2 * reach / points)
    inside = float(log_chi_cdf(torch.tensor(radius).double().numpy(), 2))
    levels = []
    for x, y in zip(clean, changed, strict=True):
        images = model.decode(x.expand(len(u), -1, -1, -1), u.float())
        likelihood = model.likelihood.log_prob(model.likelihood.statistic(images, y.expand_as(images)), model.pixels)
        levels.append((likelihood.double() + normal).logsumexp(0) - inside)
    return torch.stack(levels)
