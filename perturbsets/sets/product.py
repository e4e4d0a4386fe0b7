"""A product of balls: each group of coordinates keeps to a ball of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perturbsets._types import Offsets, PerImage
from perturbsets.sets.ball import Ball


@dataclass(frozen=True)
class ProductBall(Ball):
    r"""All offsets whose groups of coordinates lie in balls, :math:`\max_i \|u_i\|_{(i)} \le r`.

    Args:
        radius: As for :class:`Ball`, the same for every group.
        kinds: A ball per group; their norms count, their radii do not.
        sizes: Number of coordinates of each group.
    """

    kinds: tuple[Ball, ...]
    sizes: tuple[int, ...]

    def norm(self, offsets: Offsets) -> PerImage:
        groups = zip(self.kinds, self._split(offsets), strict=True)
        return torch.stack([kind.norm(group) for kind, group in groups]).amax(0)

    def project(self, offsets: Offsets) -> Offsets:
        return self._each(lambda ball, group: ball.project(group), offsets)

    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        return self._each(lambda ball, *groups: ball.project_in_box(*groups), offsets, low, high)

    def steepest(self, gradient: Offsets) -> Offsets:
        """Each group's own steepest step: all of them fit at once."""
        return self._each(lambda ball, group: ball.steepest(group), gradient)

    def steepest_in_box(self, gradient: Offsets, low: Tensor, high: Tensor) -> Offsets:
        return self._each(lambda ball, *groups: ball.steepest_in_box(*groups), gradient, low, high)

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        return self._each(lambda ball, group: ball.uniform(group, generator), like)

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        return self._each(lambda ball, group: ball.normal(group, generator), like)

    def _split(self, offsets: Offsets) -> tuple[Tensor, ...]:
        return offsets.split(self.sizes, dim=1)

    def _each(self, method: Callable[..., Tensor], *matrices: Tensor) -> Tensor:
        groups = zip(*map(self._split, matrices), strict=True)
        balls = [replace(kind, radius=self.radius) for kind in self.kinds]
        return torch.cat([method(ball, *group) for ball, group in zip(balls, groups, strict=True)], dim=1)
