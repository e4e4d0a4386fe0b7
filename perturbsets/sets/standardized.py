"""A set whose offsets count standard deviations of a normal noise, as smoothing needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Offsets, OneOrEach, Rows, Samples
from perturbsets.sets.balls import L2Ball
from perturbsets.sets.base import PerturbationSet, Region
from perturbsets.sets.composed import ComposedRegion


class StandardizedRegion(Region):
    """A :class:`Standardized` bound to samples; ``scales`` are offsets of the set itself for an offset of 1 here."""

    ball: L2Ball

    def __init__(self, region: Region, scales: Tensor, ball: L2Ball) -> None:
        self.images, self.region, self.scales, self.ball = region.images, region, scales, ball

    @property
    def size(self) -> int:
        return self.region.size

    def decode(self, offsets: Offsets) -> Samples:
        return self.region.decode(self.scales * offsets)

    def select(self, rows: Rows) -> StandardizedRegion:
        return StandardizedRegion(self.region.select(rows), self.scales[rows], self.ball.select(rows))


@dataclass(frozen=True)
class Standardized(PerturbationSet):
    r"""Any set with an L2 ball, its offsets counted in standard deviations of a normal noise.

    .. math:: S(x) = \{\, g(x, \sigma w) : \|w\|_2 \le r \,\}

    Normal noise in the set is standard normal noise here. For composed sets the offsets of all parts form one vector,
    each in standard deviations of its part's noise, and so

    .. math:: \|w\|^2 = \sum_i \big(\|u_i\| / \sigma_i\big)^2 .

    The radius of the set itself, and those of the parts, do not limit the noise. Outside them the set's own decoding
    applies; that of a pixel ball clips to the bounds.

    Args:
        perturbations: A set with an L2 ball, or a :class:`ComposedSet` of such sets.
        sigma: Standard deviation :math:`\sigma > 0` of the noise in the set's own unit (pixel values, prior standard
            deviations); of composed sets one for each part, in that part's own unit.
        radius: :math:`0 \le r \le \infty`, in standard deviations; a number, or one per image.

    Raises:
        ValueError: If a standard deviation is not positive and finite, or a radius is negative or NaN.

    Example:
        >>> from perturbsets import PixelBall
        >>> region = Standardized(PixelBall("l2", 1.0), sigma=0.25).at(torch.full((1, 1, 2, 2), 0.5))
        >>> region.decode(torch.tensor([[1.0, 0.0, -1.0, 9.0]])).flatten()
        tensor([0.7500, 0.5000, 0.2500, 1.0000])
    """

    perturbations: PerturbationSet
    _: KW_ONLY
    sigma: float | Sequence[float]
    radius: OneOrEach = math.inf

    def __post_init__(self) -> None:
        sigmas = self.sigma if isinstance(self.sigma, Sequence) else (self.sigma,)
        if not sigmas or not all(0 < sigma < math.inf for sigma in sigmas):  # NaN fails too
            raise ValueError(f"sigma must be above 0 and finite, the noise's standard deviation, got {self.sigma}")
        object.__setattr__(self, "radius", L2Ball(self.radius).radius)

    def at(self, images: Any) -> StandardizedRegion:
        """Binds the set to samples; a part without L2 ball, or without its own ``sigma``, is a ``ValueError``."""
        region = self.perturbations.at(images)
        return StandardizedRegion(region, _scales(region, self.sigma), L2Ball(self.radius))


def _scales(region: Region, sigma: float | Sequence[float]) -> Tensor:
    if isinstance(region, ComposedRegion):
        return _composed_scales(region, sigma)
    if not isinstance(region.ball, L2Ball) or not region.searchable:
        raise ValueError(
            "perturbations must have an L2 ball for normal noise, or be composed of sets that have one, got a "
            f"{type(region).__name__} with a {type(region.ball).__name__}: take a LatentBall or PixelBall('l2', ...)"
        )
    if isinstance(sigma, Sequence):
        raise ValueError(f"sigma must be one number for a set that is not composed, got {list(sigma)}")
    return region.centre().new_full((len(region.images), 1), sigma)


def _composed_scales(region: ComposedRegion, sigma: float | Sequence[float]) -> Tensor:
    kinds, sizes = region.ball.kinds, region.ball.sizes
    others = sorted({type(kind).__name__ for kind in kinds} - {L2Ball.__name__})
    if others:
        raise ValueError(f"every part of a composed set must have an L2 ball for normal noise, got {others}")
    if not isinstance(sigma, Sequence) or len(sigma) != len(kinds):
        raise ValueError(
            f"sigma must be one number for each of the {len(kinds)} parts of a composed set, in the part's own unit, "
            f"got {sigma}"
        )
    if not all(bool((radii > 0).all()) for radii in region.radii):
        raise ValueError("parts must have radii above 0, since a composed set counts offsets in shares of them")
    columns = zip(sigma, region.radii, sizes, strict=True)
    return torch.cat([(one / radii).expand(-1, size) for one, radii, size in columns], dim=1)
