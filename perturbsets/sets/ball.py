"""A ball of offsets: the geometry that every perturbation set shares, written once a norm."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from perturbsets._types import Offsets, OneOrEach, PerImage
from perturbsets.per_image import PerImageSettings, for_each, set_per_image

MOST_ROUNDS = 50  # of the searches for a projection


@dataclass(frozen=True)
class Ball(PerImageSettings, ABC):
    r"""All offsets u with :math:`\|u\| \le r`, one ball per image.

    Args:
        radius: :math:`0 \le r \le \infty`, in the unit of the set that uses the ball; a number, or one per image.
            Radius 0 leaves offset 0 alone.

    Raises:
        ValueError: If a radius is negative or NaN.
    """

    per_image: ClassVar[tuple[str, ...]] = ("radius",)
    radius: OneOrEach

    def __post_init__(self) -> None:
        set_per_image(self, "radius", lambda r: r >= 0, "0 or more (inf for no limit), a number or one per image")

    def radii(self, like: Tensor) -> Tensor:
        """Radii as a column ``[B, 1]`` of the dtype and device of ``like``.

        Raises:
            ValueError: If there is one radius per image, but not for this number of images.
        """
        return for_each(self.radius, like, "radius")[:, None]

    def _finite(self, like: Tensor) -> Tensor:
        radii = self.radii(like)
        if not bool(radii.isfinite().all()):
            raise ValueError("radius must be finite to draw uniformly from a ball; give one, or start at zero")
        return radii

    @abstractmethod
    def norm(self, offsets: Offsets) -> PerImage:
        """The norm of each offset."""

    @abstractmethod
    def project(self, offsets: Offsets) -> Offsets:
        """The nearest points of the ball."""

    @abstractmethod
    def project_in_box(self, offsets: Offsets, low: Tensor, high: Tensor) -> Offsets:
        r"""The nearest points of the ball's intersection with a box around zero, exactly.

        Args:
            offsets: Points to project.
            low: Smallest coordinates, ``[B, Z]``, at most 0, cut by :meth:`cut`.
            high: Largest coordinates, ``[B, Z]``, at least 0, cut likewise.

        Returns:
            The projections.
        """

    def cut(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The part of a box that lies in the cube around the ball; done once, it saves each projection a step."""
        radii = self.radii(low)
        return low.maximum(-radii), high.minimum(radii)

    def box(self, like: Offsets) -> tuple[Offsets, Offsets] | None:
        """Smallest and largest offsets where the ball is a box, as any ball without a limit is; else ``None``.

        Args:
            like: Gives shape, dtype and device.
        """
        radii = self.radii(like).expand_as(like)
        return (-radii, radii) if bool(radii.isinf().all()) else None

    @abstractmethod
    def steepest(self, gradient: Offsets) -> Offsets:
        """The step of norm 1 that climbs fastest; zero where the gradient is zero."""

    def steepest_in_box(self, gradient: Offsets, low: Tensor, high: Tensor) -> Offsets:
        """A step of norm 1 at most that climbs fast inside ball and box; :meth:`steepest` where the box changes little.

        Args:
            gradient: The gradient ``[B, Z]``.
            low: As for :meth:`project_in_box`.
            high: As for :meth:`project_in_box`.
        """
        return self.steepest(gradient)

    @abstractmethod
    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Points uniform in the ball; ``like`` gives shape, dtype and device.

        Raises:
            ValueError: If a radius is infinite.
        """

    @abstractmethod
    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Draws from the standard normal distribution conditioned on the ball, exactly."""


def uniform_draws(shape: int | torch.Size, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in float64 on the CPU, which is where the inverse distribution functions are."""
    device = "cpu" if generator is None else generator.device
    size = (shape,) if isinstance(shape, int) else tuple(shape)
    return torch.rand(size, dtype=torch.float64, generator=generator, device=device).cpu()


# The cube: the ball of the largest absolute value.


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


# A product of balls: each group of coordinates keeps to a ball of its own.


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
