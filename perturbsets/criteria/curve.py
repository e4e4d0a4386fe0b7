"""The necessary subset property over radii: what a smaller ball would leave, and what a larger one would hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from perturbsets._types import OneOrEach, PerImage
from perturbsets.criteria.figures import figure, named
from perturbsets.per_image import one_number


@dataclass(frozen=True)
class NecessaryCurve:
    """Errors of the nearest members found, radius by radius; no pair's error rises with the radius.

    Attributes:
        radii: The radii, rising, in prior standard deviations.
        search: Errors on matched pairs ``[R, N]``.
        mismatched_search: Errors on mismatched pairs.
    """

    radii: tuple[float, ...]
    search: Float[Tensor, "R N"]
    mismatched_search: Float[Tensor, "R N"]

    def summary(self, identity: PerImage, mismatched_identity: PerImage, source: Tensor) -> list[dict[str, Any]]:
        """One entry per radius: means, and shares of the identity errors, with intervals over sources.

        Args:
            identity: Identity errors of the matched pairs.
            mismatched_identity: Those of the mismatched ones.
            source: Source of each pair.
        """
        return [
            {
                "radius": radius,
                "search": {**figure(matched, source), **named(figure(matched, source, identity), "share")},
                "mismatched_search": {
                    **figure(mismatched, source),
                    **named(figure(mismatched, source, mismatched_identity), "share"),
                },
            }
            for radius, matched, mismatched in zip(self.radii, self.search, self.mismatched_search, strict=True)
        ]


def curve_radii(radius: OneOrEach, shares: Sequence[float]) -> tuple[tuple[float, ...], int]:
    """Radii of a curve from shares of a set's own, which is always one of them.

    Args:
        radius: The set's own radius.
        shares: Shares of it, checked by :func:`check_shares`.

    Returns:
        The radii, rising, and the position of the set's own.

    Raises:
        ValueError: If the radius is not one finite number.

    Example:
        >>> curve_radii(4.0, (0.5, 2.0))
        ((2.0, 4.0, 8.0), 1)
    """
    size = one_number(radius, "radius")
    if not math.isfinite(size):
        raise ValueError(
            "perturbations must have one finite radius, got inf: `radius_from_pairs(model, pairs)` measures one"
        )
    every = sorted({1.0, *map(float, shares)})
    return tuple(share * size for share in every), every.index(1.0)


def check_shares(shares: Sequence[float]) -> None:
    """Refuses shares that make no curve.

    Raises:
        ValueError: If one is not above 0 and finite, or they do not rise.
    """
    if not all(0 < share < math.inf for share in shares):  # NaN fails too
        raise ValueError(
            f"curve must hold shares of the set's radius above 0 and finite, got {list(shares)}: for example (0.5, 2.0)"
        )
    if not all(low < high for low, high in itertools.pairwise(shares)):
        raise ValueError(f"curve must rise, got {list(shares)}: sort the shares, each once")
