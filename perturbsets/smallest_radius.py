"""The smallest radius at which an adversary reaches its goal, image by image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import PerImage, Samples
from perturbsets.adversary import Adversary


@dataclass(frozen=True)
class SmallestRadius:
    """Where each image falls.

    Attributes:
        radii: Smallest radius at which the goal was reached: 0 where the clean sample reaches it, infinite where it was
            never reached. An attack bounds the true one from above.
        images: The samples found there; the clean one where the goal was never reached.
        calls: Forward passes spent on each image.
    """

    radii: PerImage
    images: Samples
    calls: Tensor

    def accuracy(self, radius: Tensor) -> Tensor:
        """Share of images that stand at radii: the whole curve of accuracy over radius from one search.

        Args:
            radius: Radii of any shape, in the unit of the set.

        Returns:
            Shares in [0, 1], of the shape of the radii.
        """
        ordered = self.radii.sort().values
        fallen = torch.searchsorted(ordered, radius.to(ordered), right=True)
        return 1 - fallen.to(ordered.dtype) / len(ordered)


def bisect(
    adversary: Adversary,
    model: nn.Module | None,
    images: Samples,
    labels: Tensor,
    *,
    largest: float,
    rounds: int = 10,
    generator: torch.Generator | None = None,
) -> SmallestRadius:
    r"""Halves the interval of radii around the smallest that suffices, for all images at once.

    Each image has a radius of its own in every round, so that a round costs one attack on those not yet decided.

    Args:
        adversary: The adversary, on any set with a ``radius``; the radius it has plays no part. Leave its step size to
            be a share of the radius.
        model: The model under attack.
        images: Clean samples.
        labels: What the objective needs, a row per image.
        largest: Radius that is tried first, above 0 and finite; beyond it nothing is searched.
        rounds: Halvings; radii are known to :math:`\text{largest} / 2^{\text{rounds}}`.
        generator: For random starts and draws.

    Returns:
        Radii, samples and calls.

    Raises:
        ValueError: If the set has no radius, or a number is outside its range.

    Example:
        >>> from perturbsets import PixelBall
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> x = torch.rand(5, 1, 2, 2)
        >>> found = bisect(Adversary(PixelBall("l2", 1.0)), model, x, model(x).argmax(1), largest=2.0)
        >>> found.accuracy(torch.tensor([0.0, 0.5, 1.0])).shape
        torch.Size([3])
    """
    if not hasattr(adversary.perturbations, "radius"):
        kind = type(adversary.perturbations).__name__
        raise ValueError(f"adversary must search a set with a radius, got {kind}: there is nothing to bisect")
    if not 0 < largest < float("inf") or rounds < 1:
        raise ValueError(
            f"largest must be above 0 and finite, rounds at least 1, got largest={largest}, rounds={rounds}"
        )
    count = len(images)
    low, high = images.new_zeros(count), images.new_full((count,), float("inf"))
    best = images.detach().clone()
    calls = torch.zeros(count, dtype=torch.int64, device=images.device)
    tried = [images.new_zeros(count), images.new_full((count,), largest)]
    for number in range(rounds + 2):
        radius = tried[number] if number < 2 else (low + high) / 2
        # Turned without a change, or beyond the largest radius: nothing is left to search.
        rows = ((high > 0) & ((number < 2) | high.isfinite())).nonzero()[:, 0]
        if not len(rows):
            break
        perturbations: Any = replace(adversary.perturbations, radius=radius[rows])  # type: ignore[type-var]
        found = replace(adversary, perturbations=perturbations)(model, images[rows], labels[rows], generator=generator)
        won, lost = rows[found.reached], rows[~found.reached]
        high[won], best[won] = radius[won], found.images[found.reached]
        low[lost] = radius[lost]
        calls[rows] += found.calls
    return SmallestRadius(high, best, calls)
