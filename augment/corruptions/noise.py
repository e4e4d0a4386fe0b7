"""Noise as transforms."""

from __future__ import annotations

from typing import Any

from augment import functional
from augment.corruptions.base import CommonCorruption, Range


class GaussianNoise(CommonCorruption):
    """Adds normal noise to each value: :func:`augment.functional.gaussian_noise`.

    Args:
        scale: Standard deviation on the range [0, 1]; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.gaussian_noise)

    def __init__(self, scale: Range = 0.08, **options: Any) -> None:
        super().__init__({"scale": scale}, **options)
