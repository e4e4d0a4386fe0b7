"""What a perturbation set is: a ball of offsets, and a region of a batch once it is bound to one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from augment.value_range import in_range
from perturbsets._types import Offsets, OneOrEach, PerImage, Rows, Samples
from perturbsets.rows import PerImageSettings, for_each, set_per_image

MOST_ROUNDS = 50  # of the iterations of a projection
Starts = Literal["zero", "uniform", "sample"]


@dataclass(frozen=True)
class Ball(PerImageSettings, ABC):
    r"""All offsets u with :math:`\|u\| \le r`, one ball per image.

    Args:
        radius: :math:`0 \le r \le \infty`, in the unit of the set that uses the ball; a number, or one per image.
            With radius 0 offset 0 is the only one.

    Raises:
        ValueError: If a radius is negative or NaN.
    """

    per_image: ClassVar[tuple[str, ...]] = ("radius",)
    radius: OneOrEach

    def __post_init__(self) -> None:
        set_per_image(self, "radius", lambda r: r >= 0, "0 or more (inf for no limit), a number or one per image")

    def radii(self, like: Tensor) -> Tensor:
        """Radii as a column ``[B, 1]`` of the dtype and device of ``like``, which has as many rows."""
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
        """The nearest points of the ball's intersection with a box around zero, exactly.

        ``low`` and ``high`` are the smallest and largest coordinates ``[B, Z]``, as :meth:`cut` gives them.
        """

    def cut(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The part of a box that lies in the cube around the ball: computed once for all projections."""
        radii = self.radii(low)
        return low.maximum(-radii), high.minimum(radii)

    def box(self, like: Offsets) -> tuple[Offsets, Offsets] | None:
        """Smallest and largest offsets where the ball is a box, as any ball without a limit is; else ``None``."""
        radii = self.radii(like).expand_as(like)
        return (-radii, radii) if bool(radii.isinf().all()) else None

    @abstractmethod
    def steepest(self, gradient: Offsets) -> Offsets:
        """The step of norm 1 of steepest ascent; zero where the gradient is zero."""

    def steepest_in_box(self, gradient: Offsets, low: Tensor, high: Tensor) -> Offsets:
        """A step of norm at most 1 for ascent inside ball and box; :meth:`steepest` unless a ball has a better one."""
        return self.steepest(gradient)

    @abstractmethod
    def uniform(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Points uniform in a ball of finite radius; ``like`` gives shape, dtype and device."""

    @abstractmethod
    def normal(self, like: Offsets, generator: torch.Generator | None = None) -> Offsets:
        """Draws from the standard normal distribution conditioned on the ball, exactly."""


def uniform_draws(shape: int | torch.Size, generator: torch.Generator | None) -> Tensor:
    """Uniform draws in float64 on the CPU, which is where the inverse distribution functions are."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=device).cpu()


@dataclass(frozen=True)
class LinfBall(Ball):
    r"""The cube :math:`\max_j |u_j| \le r`."""

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


class Region(ABC):
    """A perturbation set bound to a batch: the offsets allowed, and the samples they give.

    Ascents use nothing else of a set. Offsets are always one matrix ``[B, Z]``.

    Attributes:
        images: The batch.
        ball: The ball of offsets.
        cheap: Whether decoding costs next to nothing and gives the same numbers for some images as for all, so that a
            search need not store images with the offsets.
        searchable: Whether near offsets give near images, so that gradients help; if not, offsets are only drawn.
    """

    cheap: ClassVar[bool] = False
    searchable: ClassVar[bool] = True
    images: Samples
    ball: Ball

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of offset coordinates Z."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of offsets and values: that of the images, but float32 for halves, too coarse for small radii."""
        return torch.promote_types(self.images.dtype, torch.float32)

    @abstractmethod
    def decode(self, offsets: Offsets) -> Samples:
        """The samples at offsets, differentiable; zero offsets need not give the batch back."""

    @abstractmethod
    def select(self, rows: Rows) -> Region:
        """The region of some of the images."""

    def project(self, offsets: Offsets) -> Offsets:
        """The nearest offsets inside the region."""
        return self.ball.project(offsets)

    def steepest(self, gradient: Offsets) -> Offsets:
        """The unit step of steepest ascent."""
        return self.ball.steepest(gradient)

    def random_start(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Offsets drawn uniformly from the ball, then projected into the region."""
        return self.project(self.ball.uniform(self.centre(), generator))

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Offsets drawn from the set's own distribution; uniform if it has none."""
        return self.random_start(generator=generator)

    def box(self) -> tuple[Offsets, Offsets] | None:
        """Smallest and largest offsets where the region is a box, infinite where there is no limit; else ``None``."""
        return self.ball.box(self.centre())

    def centre(self) -> Offsets:
        """Zero offsets."""
        return self.images.new_zeros(len(self.images), self.size, dtype=self.dtype)

    def start(self, starts: Starts, *, generator: torch.Generator | None = None) -> Offsets:
        """First offsets of a search: zero, uniform, or drawn from the set's own distribution."""
        if starts == "zero":
            return self.centre()
        return self.sample(generator=generator) if starts == "sample" else self.random_start(generator=generator)


class PerturbationSet(PerImageSettings, ABC):
    r"""A set of changed versions of a sample, :math:`S(x) = \{\, g(x, u) : u \in B \,\}`.

    A new set needs a class with :meth:`at`, and a :class:`Region` with ``size``, ``decode`` and ``select``; it then
    works with every objective, ascent, criterion and transform. A ``radius`` may be one per image.
    """

    per_image: ClassVar[tuple[str, ...]] = ("radius",)

    @abstractmethod
    def at(self, images: Any) -> Region:
        """Binds the set to a batch; what depends on x alone is computed once per region.

        Gradients reach images that require them, so that one set may be applied after another.

        Raises:
            ValueError: If images are outside the set's bounds, [0, 1] of most, or not of the shape that it needs.
        """


def check_bounds(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Samples within the bounds: what rounding left outside is clamped, by :func:`augment.value_range.in_range`.

    Raises:
        ValueError: If a value is further outside, NaN or of an integer type.
    """
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point within [{bounds[0]:g}, {bounds[1]:g}], got {images.dtype}: scale them, "
            "`images.float() / 255` where 255 is white"
        )
    return in_range(images, bounds, normalized="leave out the normalisation, and put it inside of the model")
