"""The cross-polytope: the ball of the sum of absolute values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perturbsets._types import Offsets, PerImage
from perturbsets.sets.base import MOST_ROUNDS, Ball, uniform_draws


@dataclass(frozen=True)
class L1Ball(Ball):
    r"""The cross-polytope :math:`\sum_j |u_j| \le r`: few coordinates may change much.

    Args:
        radius: As for :class:`Ball`.

    References:
        Duchi et al., *Efficient projections onto the l1-ball for learning in high dimensions*, 2008;
        Croce and Hein, *Mind the box: l1-APGD for sparse adversarial attacks on image classifiers*, 2021 (with bounds).
    """

    def norm(self, offsets: Offsets) -> PerImage:
        return offsets.abs().sum(1)

    def project(self, offsets: Offsets) -> Offsets:
        sizes = offsets.abs()
        return self._shrunk(sizes, sizes) * offsets.sign()

    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        caps = torch.where(offsets < 0, -low, high)
        return self._shrunk(offsets.abs(), caps) * offsets.sign()

    def _shrunk(self, sizes: Tensor, caps: Tensor) -> Tensor:
        r"""Sizes lowered by one threshold a row, cut at zero and at the caps, that sum up to the radius at most.

        .. math:: x_j = \min\{\max\{a_j - \theta, 0\}, b_j\}

        The sum is piecewise linear in :math:`\theta` and falls. Newton's steps end at the exact threshold; where one
        leaves the bracket, that is halved instead.
        """
        radii = self.radii(sizes)
        tolerance = 64 * torch.finfo(sizes.dtype).eps * radii
        low, high = torch.zeros_like(radii), sizes.amax(1, keepdim=True) if sizes.shape[1] else torch.zeros_like(radii)
        threshold = low
        for _ in range(MOST_ROUNDS):
            lowered = sizes - threshold
            kept = lowered.clamp_min(0).minimum(caps)
            excess = kept.sum(1, keepdim=True) - radii
            done = (excess.abs() <= tolerance) | ((threshold == 0) & (excess <= 0))
            if bool(done.all()):
                break
            low, high = threshold.where(excess > 0, low), threshold.where(excess <= 0, high)
            moving = ((lowered > 0) & (lowered < caps)).sum(1, keepdim=True)
            newton = threshold + excess / moving.clamp_min(1)
            inside = (newton > low) & (newton < high) & (moving > 0)
            threshold = threshold.where(done, newton.where(inside, (low + high) / 2))
        total = kept.sum(1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
        return kept * (radii / total).clamp_max(1)  # the last rounding stays inside too

    def steepest(self, gradient: Offsets) -> Offsets:
        largest = gradient.abs().argmax(1, keepdim=True)
        return torch.zeros_like(gradient).scatter_(1, largest, gradient.gather(1, largest).sign())

    def steepest_in_box(self, gradient: Offsets, low: Tensor, high: Tensor) -> Offsets:
        """The gradient in those coordinates that the best corner of ball and box uses, for a linear loss.

        That corner fills the coordinates of largest gradient up to their bounds, one after the other, until the radius
        is spent. A step along one coordinate alone, the steepest without bounds, gains nothing once that is at its
        bound; steps in proportion to the gradient converge to the corner.
        """
        radii = self.radii(gradient)
        order = gradient.abs().argsort(1, descending=True)
        caps = torch.where(gradient < 0, -low, high).gather(1, order)
        moves = ((caps.cumsum(1) - caps < radii) & (caps > 0)).to(gradient.dtype)
        step = torch.zeros_like(gradient).scatter_(1, order, moves) * gradient
        return step / self.norm(step)[:, None].clamp_min(torch.finfo(gradient.dtype).tiny)

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        count, size = like.shape
        draws = -torch.log1p(-uniform_draws(torch.Size([count, size + 1]), generator))  # exponential
        signs = 2.0 * (uniform_draws(like.shape, generator) < 0.5) - 1
        inside = signs * draws[:, :size] / draws.sum(1, keepdim=True)
        return self.project(inside.to(like) * radii)

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Not available exactly.

        Raises:
            ValueError: Always.
        """
        raise ValueError("ball must be l2 or linf to draw from the normal distribution conditioned on it, got l1")
