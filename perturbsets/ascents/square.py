"""The Square attack: random squares, kept where the value rises."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perturbsets._types import Offsets
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.square_moves import BallMoves, CubeMoves
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region
from perturbsets.sets.l2 import L2Ball
from perturbsets.sets.linf import LinfBall
from perturbsets.sets.pixel import PixelRegion

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10 000 queries, as in the authors' release


@dataclass(frozen=True)
class Square(Ascent):
    r"""Random search by squares in L2 and L-inf balls of images; needs no gradient.

    A step proposes a change inside a window at a random place, and an image takes it where the value rises, or the
    goal is reached. The window shrinks on a fixed schedule. In L-inf each channel of the window moves to
    :math:`\pm r`, after a start of vertical stripes; a square that would change nothing has the sign of one channel
    turned. In L2 the search starts at a grid of bumps, and a step takes the norm of one window, and what the
    ball leaves unused, to put it on a bump in another, so that the norm stays that of the ball.

    Args:
        queries: Number of points tried, the start included; each costs one forward pass.
        share: Share of the pixels that the first windows cover, in (0, 1].
        stop_when_reached: Whether images that reached the goal leave the computation, each at once.

    Raises:
        ValueError: If a setting is outside its range.

    References:
        Andriushchenko, Croce, Flammarion and Hein, *Square attack: a query-efficient black-box adversarial attack via
        random search*, 2020, algorithms 1-3.
    """

    queries: int = 5000
    share: float = 0.8
    stop_when_reached: bool = False

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"queries must be at least 1, got {self.queries}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}: it is a share of the pixels")

    def misfit(self, region: Region) -> str | None:
        if not isinstance(region, PixelRegion) or region.images.ndim != 4:
            shape = list(region.images.shape)
            return f"it changes squares of pixels, got a {type(region).__name__} of {shape}: take a PixelBall of images"
        if not isinstance(region.ball, L2Ball | LinfBall):
            return f'it knows the norms "l2" and "linf", got a {type(region.ball).__name__}: take APGD'
        if not bool(region.ball.radii(region.low).isfinite().all()):
            return "it moves to the edge of the ball, got an infinite radius: give one, or take ProjectedLBFGS"
        return None

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        if not isinstance(region, PixelRegion):
            raise ValueError(f"region must fit Square: {self.misfit(region)}")
        best, here, judge = Best(region, loss), region, loss
        moves = (BallMoves if isinstance(region.ball, L2Ball) else CubeMoves)(region, generator)
        rows = torch.arange(len(region.images), device=region.images.device)
        with torch.no_grad():
            for query, share in enumerate(self._shares()):
                if self.stop_when_reached and bool(best.reached[rows].any()):
                    rows = (~best.reached).nonzero()[:, 0]
                    if not len(rows):
                        break
                    here, judge = region.keep(rows), loss.keep(rows)
                if query:
                    pixels = best.offsets[rows].unflatten(1, (region.images.shape[1], -1))
                    offsets = moves.following(pixels, share, rows).flatten(1)
                else:
                    offsets = moves.first().flatten(1) if start is None else start
                offsets = here.project(offsets)
                images = here.decode(offsets)
                value, reached = judge(images, offsets)
                best.update(offsets, images, value, reached, rows)
        return best

    def _shares(self) -> list[float]:
        """Of the pixels in a window, query by query."""
        scale = 10_000 / self.queries
        return [self.share / 2 ** sum(query * scale > mark for mark in HALVINGS) for query in range(self.queries)]
