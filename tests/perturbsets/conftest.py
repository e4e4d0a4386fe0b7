"""A conditional VAE whose nearest points and likelihoods are known exactly, and pairs held in memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvae import CVAE, Networks


class _Shift(nn.Module):
    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.basis = nn.Parameter(basis)

    def forward(self, images: Tensor, features: Tensor, latents: Tensor) -> Tensor:
        return images + (latents @ self.basis.T).view(images.shape)


class LinearCVAE(CVAE):
    """Prior N(Ax, s²I), generator x + Wz with orthogonal columns of W, recognition = exact posterior, widened."""

    def __init__(
        self,
        latent: int = 2,
        height: int = 2,
        width: int = 3,
        scale: float = 0.5,
        noise: float = 0.1,
        widen: float = 0.0,
    ) -> None:
        pixels = height * width
        draw = torch.Generator().manual_seed(7)
        columns = torch.linalg.qr(torch.randn(pixels, latent, generator=draw, dtype=torch.float64))[0]
        gains = torch.linspace(0.3, 0.3, latent, dtype=torch.float64)
        basis = columns * gains
        mean = 0.2 * torch.randn(latent, pixels, generator=draw, dtype=torch.float64)
        variance = 1 / (scale**-2 + gains.square() / noise**2)
        # The posterior mean is linear in x and in the changed image, which stand side by side.
        likelihood_part = basis.T / noise**2
        posterior = variance[:, None] * torch.cat([mean / scale**2 - likelihood_part, likelihood_part], 1)

        def head(weight: Tensor, log_scale: Tensor) -> nn.Linear:
            layer = nn.Linear(weight.shape[1], 2 * latent)
            bias = 7 * torch.atanh(log_scale / 7)  # undoes the bound on log-scales
            with torch.no_grad():
                layer.weight.copy_(torch.cat([weight, torch.zeros_like(weight)]))
                layer.bias.copy_(torch.cat([torch.zeros_like(bias), bias]))
            return layer

        prior_scale = torch.full((latent,), math.log(scale), dtype=torch.float64)
        super().__init__(
            Networks(
                nn.Flatten(),
                head(mean, prior_scale),
                nn.Sequential(nn.Flatten(), head(posterior, variance.sqrt().log() + widen)),
                _Shift(basis.float()),
            ),
            latent=latent,
            shape=(1, height, width),
        )
        self.likelihood.scale.fill_(noise)  # type: ignore[union-attr, operator]
        self.eval()


class MemoryPairs:
    """Pairs held in memory, in the way of a pair store."""

    def __init__(self, clean: Tensor, changed: Tensor, source: Tensor) -> None:
        self.clean, self.changed, self.source = clean, changed, source

    def __len__(self) -> int:
        return len(self.clean)

    def batch(self, indices: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        source = self.source[indices]
        return self.clean[indices], self.changed[indices], source, torch.zeros_like(source)


@pytest.fixture(scope="session")
def linear_cvae() -> type[LinearCVAE]:
    return LinearCVAE


@pytest.fixture(scope="session")
def memory_pairs() -> type[MemoryPairs]:
    return MemoryPairs
