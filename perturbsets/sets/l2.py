"""The Euclidean ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Offsets, PerImage
from perturbsets.sets.ball import MOST_ROUNDS, Ball, uniform_draws
from perturbsets.sets.chi import truncated_chi


@dataclass(frozen=True)
class L2Ball(Ball):
    r"""The Euclidean ball :math:`\|u\|_2 \le r`.

    Args:
        radius: As for :class:`Ball`.
    """

    def norm(self, offsets: Offsets) -> PerImage:
        return offsets.norm(dim=1)

    def project(self, offsets: Offsets) -> Offsets:
        norms = offsets.norm(dim=1, keepdim=True)
        return offsets * (self.radii(offsets) / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1)

    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        r"""The nearest points of ball and box.

        The projection is :math:`\operatorname{clip}(\sqrt{s}\,v)` with the largest :math:`s \le 1` that stays in
        the ball. Its squared norm is concave and piecewise linear in s, so that the secant method from below
        never leaves the ball, and ends at the exact s once two points lie on the last piece.
        """
        radii = self.radii(offsets)
        goal = radii.square()
        tiny = torch.finfo(offsets.dtype).tiny
        enough = goal * (1 - 64 * torch.finfo(offsets.dtype).eps)
        share = (goal / offsets.norm(dim=1, keepdim=True).square().clamp_min(tiny)).clamp_max(1)
        former_share = former = torch.zeros_like(share)
        for _ in range(MOST_ROUNDS):
            clipped = (share.sqrt() * offsets).clamp_(low, high)
            norms = clipped.norm(dim=1, keepdim=True)
            squares = norms.square()
            done = (squares >= enough) | (share >= 1)
            if bool(done.all()):
                break
            width = (share - former_share) / (squares - former).clamp_min(tiny)
            following = (share + (goal - squares) * width).clamp_max(1)
            former_share, former, share = share, squares, share.where(done, following)
        return clipped.mul_((radii / norms.clamp_min(tiny)).clamp_max(1))  # the last rounding stays inside too

    def steepest(self, gradient: Offsets) -> Offsets:
        # In double precision, since squares of tiny gradients would underflow.
        norms = in_double(gradient).norm(dim=1, keepdim=True).to(gradient)
        return gradient / norms.clamp_min(torch.finfo(gradient.dtype).tiny)

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        share = uniform_draws(len(like), generator) ** (1 / like.shape[1])  # of the radius
        return self.project(random_directions(like, generator) * share[:, None].to(radii) * radii)

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self.radii(like.new_empty(len(like), 0, dtype=torch.float64, device="cpu"))[:, 0]
        norms = truncated_chi(uniform_draws(len(like), generator), like.shape[1], radii)
        return self.project(random_directions(like, generator) * norms[:, None].to(like))


def random_directions(like: Offsets, generator: torch.Generator | None = None) -> Offsets:
    """Unit vectors, uniform over the sphere; ``like`` gives shape, dtype and device.

    A normal draw whose coordinates are all exactly 0 has no direction (one in ten million, in one dimension and single
    precision): it counts as a step along all axes.
    """
    device = "cpu" if generator is None else generator.device
    draws = torch.randn(like.shape, dtype=like.dtype, generator=generator, device=device).to(like.device)
    draws = draws.masked_fill((draws == 0).all(1, keepdim=True), 1)
    return draws / draws.norm(dim=1, keepdim=True)
