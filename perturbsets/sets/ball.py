"""Balls of offsets: the geometry that every perturbation set shares, written once a norm."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perturbsets._types import Offsets, PerImage, Rows
from perturbsets.sets.chi import truncated_chi

MOST_ROUNDS = 50


@dataclass(frozen=True)
class Ball(ABC):
    r"""All offsets u with :math:`\|u\| \le r`, one ball per image.

    Args:
        radius: :math:`0 \le r \le \infty`, in the unit of the set that uses the ball; a number, or one per image.
            Radius 0 leaves every image as it is.

    Raises:
        ValueError: If a radius is negative or NaN.
    """

    radius: float | PerImage

    def __post_init__(self) -> None:
        if not bool((torch.as_tensor(self.radius) >= 0).all()):  # NaN fails too
            raise ValueError(
                f"radius must be 0 or more (inf for no limit), a number or one per image, got {self.radius}"
            )

    def radii(self, like: Tensor) -> Tensor:
        """Radii as a column ``[B, 1]`` of the dtype and device of ``like``.

        Raises:
            ValueError: If there is one radius per image, but not for this number of images.
        """
        radius = torch.as_tensor(self.radius, dtype=like.dtype, device=like.device)
        if radius.ndim and radius.shape != like.shape[:1]:
            raise ValueError(
                f"radius must be a number or one per image, got {list(radius.shape)} radii for {len(like)} images"
            )
        return radius.expand(len(like))[:, None]

    def keep(self, rows: Rows) -> Ball:
        """The ball of some of the images."""
        if isinstance(self.radius, Tensor) and self.radius.ndim:
            return replace(self, radius=self.radius[rows.to(self.radius.device)])
        return self

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

    @abstractmethod
    def steepest(self, gradient: Offsets) -> Offsets:
        """The step of norm 1 that climbs fastest; zero where the gradient is zero."""

    @abstractmethod
    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Points uniform in the ball; ``like`` gives shape, dtype and device.

        Raises:
            ValueError: If a radius is infinite.
        """

    @abstractmethod
    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Draws from the standard normal distribution conditioned on the ball, exactly."""


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
        norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True, dtype=torch.float64).to(gradient.dtype)
        return gradient / norms.clamp_min(torch.finfo(gradient.dtype).tiny)

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        share = _rand(len(like), generator) ** (1 / like.shape[1])  # of the radius
        return self.project(_directions(like, generator) * share[:, None].to(radii) * radii)

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self.radii(like.double())[:, 0].cpu()
        norms = truncated_chi(_rand(len(like), generator), like.shape[1], radii)
        return self.project(_directions(like, generator) * norms[:, None].to(like))


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

    def steepest(self, gradient: Offsets) -> Offsets:
        return gradient.sign()

    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        radii = self._finite(like)
        device = "cpu" if generator is None else generator.device
        draws = torch.empty(like.shape, dtype=like.dtype, device=device).uniform_(-1, 1, generator=generator)
        return self.project(draws.to(like.device).mul_(radii))

    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        inside = torch.erf(self.radii(like.double()).cpu() / math.sqrt(2))
        draws = math.sqrt(2) * torch.erfinv((2 * _rand(like.shape, generator) - 1) * inside)
        return self.project(draws.to(like))


def _rand(shape: int | torch.Size, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in float64 on the CPU, which is where the inverse distribution functions are."""
    device = "cpu" if generator is None else generator.device
    size = (shape,) if isinstance(shape, int) else tuple(shape)
    return torch.rand(size, dtype=torch.float64, generator=generator, device=device).cpu()


def _directions(like: Offsets, generator: torch.Generator | None) -> Offsets:
    device = "cpu" if generator is None else generator.device
    draws = torch.randn(like.shape, dtype=like.dtype, generator=generator, device=device).to(like.device)
    return draws / draws.norm(dim=1, keepdim=True)


BALLS: dict[str, type[Ball]] = {"l2": L2Ball, "linf": LinfBall}
