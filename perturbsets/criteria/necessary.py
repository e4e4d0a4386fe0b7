"""The necessary subset property: is every real change in the set, or near it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Images, Offsets, PerImage
from perturbsets.adversary import Adversary
from perturbsets.ascents.projected_gradient import ProjectedGradient
from perturbsets.criteria.pairs import PairBatch, Pairs, batches, mismatched
from perturbsets.intervals import bootstrap
from perturbsets.objectives.approximation import ApproximationError
from perturbsets.sets.latent import LatentBall


@dataclass(frozen=True)
class NecessaryResult:
    """Errors per pair: mean squared differences per pixel.

    Attributes:
        identity: ``‖x − x̃‖²``, what no set at all gives.
        reconstruction: At the encoding, wherever it lies.
        encoding: At the encoding, projected onto the ball.
        search: At the best point found in the ball; an upper bound of the minimum.
        mismatched_search: The same, with x of one source and x̃ of another.
        mismatched_identity: ``‖x − x̃‖²`` of those.
        source: Source of each pair.
    """

    identity: PerImage
    reconstruction: PerImage
    encoding: PerImage
    search: PerImage
    mismatched_search: PerImage
    mismatched_identity: PerImage
    source: Tensor

    def summary(self) -> dict[str, Any]:
        """Means, quantiles, and shares of the identity error, with intervals over sources."""
        figures: dict[str, Any] = {"pairs": len(self.source), "sources": len(self.source.unique())}
        for name in (
            "identity",
            "reconstruction",
            "encoding",
            "search",
            "mismatched_search",
            "mismatched_identity",
        ):
            errors: Tensor = getattr(self, name)
            identity = self.mismatched_identity if name.startswith("mismatched") else self.identity
            mean = bootstrap(errors, self.source)
            share = bootstrap(errors, self.source, over=identity)
            figures[name] = {
                **mean._asdict(),
                "median": float(errors.median()),
                "q95": float(errors.quantile(0.95)),
                "max": float(errors.max()),
                "share": share.mean,
                "share_low": share.low,
                "share_high": share.high,
            }
        return figures


@dataclass(frozen=True)
class NecessarySubset:
    r"""Measures how near a latent ball comes to held-out changed images.

    .. math:: \delta = \mathbb E_{x, \tilde x} \min_{\|u\| \le \epsilon} \tfrac1m \|g(x, u) - \tilde x\|^2

    The minimum is searched by projected gradient, from the projected encoding and from random points. On
    mismatched pairs the same error should stay large: a decoder that can copy anything shows there.

    Args:
        steps: Steps of each search.
        restarts: Starts of each search: the encoding, then random points.

    Raises:
        ValueError: If a number is below 1.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, definition 1.
    """

    steps: int = 50
    restarts: int = 3

    def __post_init__(self) -> None:
        ProjectedGradient(self.steps, restarts=self.restarts)

    def __call__(
        self, perturbations: LatentBall, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> NecessaryResult:
        """Measures.

        Args:
            perturbations: The set; its radius must be finite.
            pairs: Pairs that were neither trained on nor used to choose the radius.
            generator: For the random starts.

        Returns:
            Errors per pair.

        Raises:
            ValueError: If there are no pairs or they have one source only.
        """
        ascent = ProjectedGradient(self.steps, restarts=self.restarts, schedule="cosine")
        adversary = Adversary(perturbations, ApproximationError(), ascent)
        unlimited = replace(perturbations, radius=math.inf)
        device = perturbations.device

        def measure(parts: Iterator[PairBatch]) -> list[Tensor]:
            rows = []
            for clean, changed, source in parts:
                start = perturbations.at(clean).encode(changed)
                nearest = adversary(None, clean, changed, start=start, generator=generator)
                at_encoding = _error_at(perturbations, clean, changed, start)
                free = _error_at(unlimited, clean, changed, start)
                identity = (clean - changed).square().flatten(1).mean(1)
                rows.append([identity, free, at_encoding, -nearest.values, source])
            return [torch.cat(column) for column in zip(*rows, strict=True)]

        identity, reconstruction, encoding, search, source = measure(batches(pairs, device=device))
        mismatched_identity, _, _, mismatched_search, _ = measure(mismatched(pairs, device=device))
        return NecessaryResult(
            identity, reconstruction, encoding, search, mismatched_search, mismatched_identity, source
        )


@torch.no_grad()
def _error_at(perturbations: LatentBall, clean: Images, changed: Images, offsets: Offsets) -> PerImage:
    region = perturbations.at(clean)
    return (region.decode(region.project(offsets)) - changed).square().flatten(1).mean(1)
