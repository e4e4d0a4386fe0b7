"""One perturbation set after another: a learned change, then noise on its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Offsets, OneOrEach, PerImage, Rows, Samples
from perturbsets.rows import for_each, set_per_image
from perturbsets.sets.base import Ball, PerturbationSet, Region


@dataclass(frozen=True)
class ProductBall(Ball):
    r"""All offsets whose groups of coordinates lie in balls, :math:`\max_i \|u_i\|_{(i)} \le r`.

    Args:
        radius: As for :class:`Ball`, the same for every group.
        kinds: A ball per group; their norms count, their radii do not.
        sizes: Number of coordinates of each group.
    """

    _: KW_ONLY
    kinds: tuple[Ball, ...]
    sizes: tuple[int, ...]

    def norm(self, offsets: Offsets) -> PerImage:
        groups = zip(self.kinds, offsets.split(self.sizes, dim=1), strict=True)
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

    def _each(self, method: Callable[..., Tensor], *matrices: Tensor) -> Tensor:
        groups = zip(*(matrix.split(self.sizes, dim=1) for matrix in matrices), strict=True)
        balls = [replace(kind, radius=self.radius) for kind in self.kinds]
        return torch.cat([method(ball, *group) for ball, group in zip(balls, groups, strict=True)], dim=1)


class ComposedRegion(Region):
    """A :class:`ComposedSet` bound to samples.

    The first part is bound once; the later ones are bound again, to the images before them, at every decoding. Offsets
    count in shares of the parts' radii, a column each.
    """

    ball: ProductBall

    def __init__(
        self, ball: ProductBall, first: Region, later: Sequence[PerturbationSet], radii: Sequence[Tensor]
    ) -> None:
        self.images, self.ball, self.first, self.later, self.radii = first.images, ball, first, later, radii

    @property
    def size(self) -> int:
        return sum(self.ball.sizes)

    def decode(self, offsets: Offsets) -> Samples:
        first, *later = self._scaled(offsets)
        images = self.first.decode(first)
        for part, group in zip(self.later, later, strict=True):
            images = part.at(images).decode(group)
        return images

    def project(self, offsets: Offsets) -> Offsets:
        """The first part's own projection, bounds included; the others' depend on it, and apply when they decode."""
        first = self.first.project(self._scaled(offsets)[0]) / _divisor(self.radii[0])
        return torch.cat([first, self.ball.project(offsets)[:, self.ball.sizes[0] :]], dim=1)

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Offsets of each part's own distribution."""
        with torch.no_grad():
            region, drawn = self.first, [self.first.sample(generator=generator)]
            for part in self.later:
                region = part.at(region.decode(drawn[-1]))
                drawn.append(region.sample(generator=generator))
        groups = [offsets / _divisor(radii) for offsets, radii in zip(drawn, self.radii, strict=True)]
        return self.project(torch.cat(groups, dim=1))

    def select(self, rows: Rows) -> ComposedRegion:
        later, radii = [part.select(rows) for part in self.later], [column[rows] for column in self.radii]
        return ComposedRegion(self.ball.select(rows), self.first.select(rows), later, radii)

    def _scaled(self, offsets: Offsets) -> list[Tensor]:
        """The offsets of each part, in its own unit."""
        groups = offsets.split(self.ball.sizes, dim=1)
        return [group * radii for group, radii in zip(groups, self.radii, strict=True)]


def _divisor(radii: Tensor) -> Tensor:
    return radii.where(radii > 0, 1)


@dataclass(frozen=True)
class ComposedSet(PerturbationSet):
    r"""All samples that one set makes from those of another.

    .. math:: S(x) = \{\, g_2(g_1(x, r_1 u_1), r_2 u_2) : \|u_i\|_{(i)} \le r \,\}

    Offsets of the parts are concatenated, in shares of their radii :math:`r_i`, so that one step size fits all units.

    Args:
        parts: The sets, in order; at least two, each of finite radius.
        radius: Share r of the parts' radii in use, 0 or more; a number, or one per image.

    Raises:
        ValueError: If there are fewer than two parts, or the radius is negative or NaN.

    Example:
        >>> from perturbsets import PixelBall, SpatialBox
        >>> region = ComposedSet([SpatialBox(), PixelBall("linf", 0.1)]).at(torch.rand(2, 1, 8, 8))
        >>> region.decode(region.sample()).shape, region.size
        (torch.Size([2, 1, 8, 8]), 68)
    """

    parts: Sequence[PerturbationSet]
    _: KW_ONLY
    radius: OneOrEach = 1.0

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(f"parts must be at least two sets, got {len(self.parts)}")
        set_per_image(self, "radius", lambda r: r >= 0, "0 or more, a share of the parts' radii")

    def at(self, images: Tensor) -> ComposedRegion:
        """Binds the sets to samples; an infinite radius of a part is a ``ValueError``."""
        parts = [_shrunk(part, self.radius) for part in self.parts]
        regions = [_searchable(parts[0].at(images))]
        with torch.no_grad():
            for part in parts[1:]:
                regions.append(_searchable(part.at(regions[-1].decode(regions[-1].centre()))))
            like = regions[0].centre()
            shares = for_each(self.radius, like, "radius")[:, None]
            radii = [region.ball.radii(like) / _divisor(shares) for region in regions]
        if not all(bool(column.isfinite().all()) for column in radii):
            raise ValueError("parts must have finite radii to be composed: offsets count in shares of them")
        kinds, sizes = tuple(region.ball for region in regions), tuple(region.size for region in regions)
        ball = ProductBall(self.radius, kinds=kinds, sizes=sizes)
        return ComposedRegion(ball, regions[0], parts[1:], radii)


def _searchable(region: Region) -> Region:
    if not region.searchable:
        raise ValueError(
            f"parts must be sets in which near offsets give near images, got a {type(region).__name__}: leave it out"
        )
    return region


def _shrunk(part: Any, share: OneOrEach) -> Any:
    """A part whose radius is a share of its own."""
    if not isinstance(share, Tensor) and share == 1:
        return part
    if not hasattr(part, "radius"):
        raise ValueError(f"parts must have a radius for a share of it, got {type(part).__name__}: leave radius at 1")
    return replace(part, radius=share * part.radius)
