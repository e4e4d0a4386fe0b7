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
from perturbsets.ascents.projected_lbfgs import ProjectedLBFGS
from perturbsets.criteria.held_out import check_held_out
from perturbsets.criteria.pairs import PairBatch, Pairs, batches, mismatched
from perturbsets.intervals import bootstrap
from perturbsets.objectives.approximation import ApproximationError
from perturbsets.sets.latent import LatentBall

NEAR = 1e-6  # of a probability to 0 and 1, which would make a single wrong pixel infinitely bad


@dataclass(frozen=True)
class NecessaryResult:
    """Errors per pair: mean squared differences per pixel, but for the excess.

    Attributes:
        identity: ``‖x − x̃‖²``, what no set at all gives.
        reconstruction: At the encoding, wherever it lies.
        encoding: At the encoding, projected onto the ball.
        search: At the best point found in the ball; an upper bound of the minimum.
        excess: Binary cross-entropy of x̃ under that point, in nats per pixel, over the least there is: that of x̃ with
            itself.
        mismatched_search: The same, with x of one source and x̃ of another.
        mismatched_identity: ``‖x − x̃‖²`` of those.
        source: Source of each pair.
    """

    identity: PerImage
    reconstruction: PerImage
    encoding: PerImage
    search: PerImage
    excess: PerImage
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
            share = bootstrap(errors, self.source, over=identity)
            figures[name] = {
                **self._spread(errors),
                "share": share.mean,
                "share_low": share.low,
                "share_high": share.high,
            }
        return {**figures, "excess": self._spread(self.excess)}

    def _spread(self, errors: Tensor) -> dict[str, float]:
        return {
            **bootstrap(errors, self.source)._asdict(),
            "median": float(errors.median()),
            "q95": float(errors.quantile(0.95)),
            "max": float(errors.max()),
        }


@dataclass(frozen=True)
class NecessarySubset:
    r"""Measures how near a latent ball comes to held-out changed images.

    .. math:: \delta = \mathbb E_{x, \tilde x} \min_{\|u\| \le \epsilon} \tfrac1m \|g(x, u) - \tilde x\|^2

    The minimum is searched by quasi-Newton steps, from the projected encoding and from random points: it lies in a
    narrow valley, along which gradient steps creep. On mismatched pairs the same error should stay large: a decoder
    that can copy anything shows there.

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
        _ = self._ascent

    @property
    def _ascent(self) -> ProjectedLBFGS:
        return ProjectedLBFGS(self.steps, restarts=self.restarts, starts="uniform")

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
            ValueError: If there are no pairs, the set was learned from them, or they have one source only.
        """
        check_held_out(perturbations, pairs)
        adversary = Adversary(perturbations, ApproximationError(), self._ascent)
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
                excess = cross_entropy_excess(nearest.images, changed)
                rows.append([identity, free, at_encoding, -nearest.values, excess, source])
            return [torch.cat(column) for column in zip(*rows, strict=True)]

        identity, reconstruction, encoding, search, excess, source = measure(batches(pairs, device=device))
        mismatched_identity, _, _, mismatched_search, _, _ = measure(mismatched(pairs, device=device))
        return NecessaryResult(
            identity, reconstruction, encoding, search, excess, mismatched_search, mismatched_identity, source
        )


def cross_entropy_excess(images: Images, changed: Images) -> PerImage:
    r"""How much worse images explain changed ones than these explain themselves, as Bernoulli pixels.

    .. math:: \tfrac1m \sum_i \tilde x_i \ln \frac{\tilde x_i}{g_i}
        + (1 - \tilde x_i) \ln \frac{1 - \tilde x_i}{1 - g_i}

    Binary cross-entropy compares a generator only with itself where grey values lie between 0 and 1: its least value is
    their entropy. What is above it is this Kullback-Leibler divergence, zero for equal images.

    Args:
        images: Images g in [0, 1]; values nearer than 1e-6 to a bound count as that far from it.
        changed: Images x̃ in [0, 1].

    Returns:
        The excess per image, in nats per pixel.
    """
    near = images.clamp(NEAR, 1 - NEAR)
    least = torch.xlogy(changed, changed) + torch.xlogy(1 - changed, 1 - changed)
    return (least - torch.xlogy(changed, near) - torch.xlogy(1 - changed, 1 - near)).flatten(1).mean(1)


@torch.no_grad()
def _error_at(perturbations: LatentBall, clean: Images, changed: Images, offsets: Offsets) -> PerImage:
    region = perturbations.at(clean)
    return (region.decode(region.project(offsets)) - changed).square().flatten(1).mean(1)
