"""Pixel balls: all samples within a distance, cut by the bounds of the values."""

from __future__ import annotations

import math
import warnings
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor

from perturbsets._types import Offsets, OneOrEach, Rows, Samples
from perturbsets.rows import check_choice
from perturbsets.sets.balls import L1Ball, L2Ball
from perturbsets.sets.base import Ball, LinfBall, PerturbationSet, Region, check_bounds

Norm = Literal["l1", "l2", "linf"]
BALLS: dict[str, type[Ball]] = {"l1": L1Ball, "l2": L2Ball, "linf": LinfBall}
FEWEST = 16  # grey levels that anyone would give as a radius in L1 or L2
INSIDE = 1 - 64 * torch.finfo(torch.float32).eps  # of a change of halves: norms in single precision are rounded too


class PixelRegion(Region):
    """A :class:`PixelBall` bound to samples."""

    cheap = True

    def __init__(self, images: Samples, ball: Ball, bounds: tuple[float, float]) -> None:
        self.images, self.ball, self.bounds = images, ball, bounds
        flat = (images.flatten(1) if images.ndim > 1 else images[:, None]).detach().to(self.dtype)
        self.low, self.high = ball.cut(bounds[0] - flat, bounds[1] - flat)

    @property
    def size(self) -> int:
        return self.low.shape[1]

    def decode(self, offsets: Offsets) -> Samples:
        change = offsets.view(self.images.shape)
        if self.images.dtype != self.dtype:
            change = INSIDE * change
        images = (self.images + change).to(self.images.dtype)
        with torch.no_grad():  # only rounding changes here, which the gradient ignores
            if images.dtype != self.dtype:  # halves rounded away from the sample would leave the ball
                beyond = (images.to(self.dtype) - self.images).abs() > change.abs()
                images.copy_(torch.where(beyond, images.nextafter(self.images), images))
            return images.clamp_(*self.bounds)

    def project(self, offsets: Offsets) -> Offsets:
        return self.ball.project_in_box(offsets, self.low, self.high)

    def steepest(self, gradient: Offsets) -> Offsets:
        return self.ball.steepest_in_box(gradient, self.low, self.high)

    def box(self) -> tuple[Offsets, Offsets] | None:
        return None if self.ball.box(self.low) is None else (self.low, self.high)

    def select(self, rows: Rows) -> PixelRegion:
        return PixelRegion(self.images[rows], self.ball.select(rows), self.bounds)


@dataclass(frozen=True)
class PixelBall(PerturbationSet):
    r"""All samples within a distance of x and within the bounds.

    .. math:: S(x) = \{\, x + u : \|u\|_p \le r,\ a \le x + u \le b \,\}

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        radius: :math:`0 \le r \le \infty` in the unit of the values (0.1 of [0, 1]); a number, or one per image.
        bounds: Smallest and largest value (a, b).

    Raises:
        ValueError: If the norm is unknown, the radius negative or NaN, or the bounds are not in order.

    Warns:
        UserWarning: If one finite radius for [0, 1] exceeds what any two samples differ by: in L1 and L2, where that
            depends on the number of values, when the ball is bound to samples.

    References:
        Goodfellow, Shlens and Szegedy, *Explaining and harnessing adversarial examples*, 2015;
        Madry et al., *Towards deep learning models resistant to adversarial attacks*, 2018.

    Example:
        >>> region = PixelBall("linf", 0.1).at(torch.full((1, 1, 2, 2), 0.95))
        >>> region.project(torch.full((1, 4), 1.0))  # 0.1 by the ball, 0.05 by the bounds
        tensor([[0.0500, 0.0500, 0.0500, 0.0500]])
    """

    norm: Norm
    radius: OneOrEach
    _: KW_ONLY
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, Norm)
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds must be (smallest, largest), got {self.bounds}")
        object.__setattr__(self, "radius", BALLS[self.norm](self.radius).radius)
        if self.norm == "linf":  # whatever the number of pixels
            self._warn(1)

    def _warn(self, size: int) -> None:
        """Warns of one radius in grey levels: above all that two samples of so many values in [0, 1] can differ by.

        Radii for each image come from searches, which may begin beyond that.
        """
        largest = {"l1": size, "l2": math.sqrt(size), "linf": 1.0}[self.norm]
        least = largest if self.norm == "linf" else max(largest, FEWEST)
        if self.bounds == (0, 1) and isinstance(self.radius, float) and least < self.radius < math.inf:
            warnings.warn(
                f"radius {self.radius:g} is no limit in {self.norm}: images in [0, 1] differ by {largest:.4g} at most. "
                f"Did you mean {self.radius:g}/255? Write radius=inf for no limit",
                stacklevel=4,
            )

    def at(self, images: Tensor) -> PixelRegion:
        if self.norm != "linf" and len(images):
            self._warn(images[:1].numel())
        return PixelRegion(check_bounds(images, self.bounds), BALLS[self.norm](self.radius), self.bounds)
