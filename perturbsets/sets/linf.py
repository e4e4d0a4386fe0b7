"""The cube: the ball of the largest absolute value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from perturbsets._types import Offsets, PerImage
from perturbsets.sets.ball import Ball, uniform_draws


@dataclass(frozen=True)
class LinfBall(Ball):
    r"""The cube :math:`\max_j |u_j| \le r`.

    Args:
        radius: As for :class:`Ball`.
    """

    def norm(self, offsets: Offsets) -> PerImage:
        return offsets.abs().amax(1)

    def project(self, offsets: Offsets) -> Offsets:
        radii = self.radii(offsets)
        return offsets.clamp(-radii, radii)

    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        return offsets.clamp(low, high)  # the cut box is the intersection already

    def box(self, like: Offsets) -> tuple[Offsets, Offsets]:
        radii = self.radii(like).expand_as(like)
        return -radii, radii

    def steepest(self, gradient: Offsets) -> Offsets:
        return gradient.sign()

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        device = "cpu" if generator is None else generator.device
        draws = torch.empty(like.shape, dtype=like.dtype, device=device).uniform_(-1, 1, generator=generator)
        return self.project(draws.to(like.device).mul_(radii))

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        inside = torch.erf(self.radii(like.new_empty(len(like), 0, dtype=torch.float64, device="cpu")) / math.sqrt(2))
        draws = math.sqrt(2) * torch.erfinv((2 * uniform_draws(like.shape, generator) - 1) * inside)
        return self.project(draws.to(like))
