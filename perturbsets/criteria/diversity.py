"""How different changes of the same image are from each other."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import PerImage, Samples


class Diversity:
    r"""Gathers differences group by group, and tells the mean squared distance between two of a group.

    .. math:: \frac{2}{n(n-1)} \sum_{i<j} \tfrac1m \|d_i - d_j\|^2
        = \frac{2}{n-1} \cdot \tfrac1m \Big(\sum_i \|d_i\|^2 - \tfrac1n \big\|\sum_i d_i\big\|^2\Big)

    which needs sums only, kept in float64: their difference cancels. It does not depend on n on average, so that few
    real changes can be set beside many samples.

    Args:
        groups: Number of groups.

    Attributes:
        count: How many differences each group has.
        largest: The largest squared length of each group's differences, per pixel.

    Example:
        >>> found = Diversity(1)
        >>> found.add(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 0]))
        >>> found.distance()
        tensor([1.])
    """

    def __init__(self, groups: int) -> None:
        self.count = torch.zeros(groups, dtype=torch.int64)
        self.largest = torch.zeros(groups)
        self._sum: Tensor | None = None
        self._squares = torch.zeros(groups, dtype=torch.float64)

    def add(self, differences: Samples, member: Tensor) -> None:
        """Takes in differences.

        Args:
            differences: Changed less clean images.
            member: The group of each.
        """
        flat = in_double(differences.flatten(1))
        member = member.to(flat.device)
        if self._sum is None:
            self._sum = flat.new_zeros(len(self.count), flat.shape[1])
            self.count, self._squares = self.count.to(flat.device), self._squares.to(flat.device)
            self.largest = self.largest.to(flat.device)
        lengths = flat.square().mean(1)
        self._sum.index_add_(0, member, flat)
        self._squares.index_add_(0, member, lengths)
        self.count.index_add_(0, member, torch.ones_like(member))
        self.largest.scatter_reduce_(0, member, lengths.float(), "amax")

    def displacement(self) -> PerImage:
        """Mean squared length of each group's differences, per pixel."""
        return (self._squares / self.count.clamp_min(1)).float()

    def distance(self) -> PerImage:
        """Mean squared distance between two of a group, per pixel; zero for groups of fewer than two."""
        if self._sum is None:
            return torch.zeros_like(self.largest)
        rest = self._squares - self._sum.square().mean(1) / self.count.clamp_min(1)
        return (2 * rest.clamp_min(0) / (self.count - 1).clamp_min(1)).float() * (self.count > 1)
