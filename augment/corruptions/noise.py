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


class ImpulseNoise(CommonCorruption):
    """Sets some values to 0 or 1: :func:`augment.functional.impulse_noise`.

    Args:
        amount: Chance of a value to be lost, from 0 to 1; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.impulse_noise)

    def __init__(self, amount: Range = 0.03, **options: Any) -> None:
        super().__init__({"amount": amount}, **options)


class ShotNoise(CommonCorruption):
    """Counts photons: :func:`augment.functional.shot_noise`.

    Args:
        peak: Mean count where the image is 1; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.shot_noise)

    def __init__(self, peak: Range = 100.0, **options: Any) -> None:
        super().__init__({"peak": peak}, **options)


class SpeckleNoise(CommonCorruption):
    """Adds normal noise in proportion to each value: :func:`augment.functional.speckle_noise`.

    Args:
        scale: Standard deviation as a share of the value; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.speckle_noise)

    def __init__(self, scale: Range = 0.12, **options: Any) -> None:
        super().__init__({"scale": scale}, **options)
