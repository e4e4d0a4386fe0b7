"""From gradients to steps: what a first-order ascent remembers about former gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from perturbsets._types import Offsets, Rows
from perturbsets.sets.base import Region


class Direction(ABC):
    """Turns the gradients of one climb into steps of unit size, and may remember former ones."""

    @abstractmethod
    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        """The next step, before its size.

        Args:
            region: Where the climb is.
            gradient: Gradient at the present offsets.
        """

    @abstractmethod
    def keep(self, rows: Rows) -> None:
        """Forgets all but some of the images."""


class Plain(Direction):
    """The gradient itself."""

    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        return gradient

    def keep(self, rows: Rows) -> None:
        """Nothing is remembered."""


class Steepest(Direction):
    r"""The unit step of the region's own norm, along a running sum of gradients.

    .. math:: m_t = \mu\, m_{t-1} + \nabla_t / \overline{|\nabla_t|}

    Args:
        momentum: Weight :math:`\mu \ge 0` of former gradients; 0 follows the present one alone.
    """

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = momentum
        self._velocity: Tensor | None = None

    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        if self.momentum:
            mean = gradient.abs().mean(1, keepdim=True)
            gradient = gradient / mean.where(mean > 0, 1)
            self._velocity = gradient if self._velocity is None else self.momentum * self._velocity + gradient
            gradient = self._velocity
        return region.steepest(gradient)

    def keep(self, rows: Rows) -> None:
        if self._velocity is not None:
            self._velocity = self._velocity[rows]


class Adaptive(Direction):
    r"""Adam's step: the mean gradient over the root of the mean squared one, coordinate by coordinate.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1) \nabla_t, \quad v_t = \beta_2 v_{t-1} + (1-\beta_2) \nabla_t^2, \quad
        d_t = \frac{m_t / (1-\beta_1^t)}{\sqrt{v_t / (1-\beta_2^t)} + \delta}

    Args:
        betas: :math:`(\beta_1, \beta_2)`.
        delta: :math:`\delta`, against division by zero.

    References:
        Kingma and Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1.
    """

    def __init__(self, betas: tuple[float, float], delta: float) -> None:
        self.betas, self.delta = betas, delta
        self._steps = 0
        self._moments: tuple[Tensor, Tensor] | None = None

    def __call__(self, region: Region, gradient: Offsets) -> Offsets:
        first, second = self._moments or (torch.zeros_like(gradient), torch.zeros_like(gradient))
        self._steps += 1
        self._moments = first.lerp(gradient, 1 - self.betas[0]), second.lerp(gradient.square(), 1 - self.betas[1])
        mean, square = (
            moment / (1 - beta**self._steps) for moment, beta in zip(self._moments, self.betas, strict=True)
        )
        return mean / (square.sqrt() + self.delta)

    def keep(self, rows: Rows) -> None:
        if self._moments is not None:
            self._moments = self._moments[0][rows], self._moments[1][rows]
