"""Changes of colour as transforms."""

from __future__ import annotations

from typing import Any

from augment import functional
from augment.corruptions.base import CommonCorruption, Range


class Brightness(CommonCorruption):
    """Raises the value of each pixel: :func:`augment.functional.brightness`.

    Args:
        shift: Added value, on the range [0, 1]; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.brightness)

    def __init__(self, shift: Range = 0.15, **options: Any) -> None:
        super().__init__({"shift": shift}, **options)


class Contrast(CommonCorruption):
    """Draws each channel towards its mean: :func:`augment.functional.contrast`.

    Args:
        factor: What is left of the contrast; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.contrast)

    def __init__(self, factor: Range = 0.4, **options: Any) -> None:
        super().__init__({"factor": factor}, **options)


class Saturate(CommonCorruption):
    """Changes the saturation of each pixel: :func:`augment.functional.saturate`.

    Args:
        factor: Factor of the saturation; it and the shift are a number, or (low, high).
        shift: Added saturation, on the range [0, 1].
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.saturate)

    def __init__(self, factor: Range = 1.5, shift: Range = 0.0, **options: Any) -> None:
        super().__init__({"factor": factor, "shift": shift}, **options)
