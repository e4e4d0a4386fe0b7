"""Faults of digital images as transforms."""

from __future__ import annotations

from typing import Any

from augment import functional
from augment.corruptions.base import CommonCorruption, Range


class JpegCompression(CommonCorruption):
    """Codes as JPEG and decodes: :func:`augment.functional.jpeg_compression`.

    Args:
        quality: From 1 to 95; a whole number, or (low, high), of which the whole part counts.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.jpeg_compression)

    def __init__(self, quality: Range = 58, **options: Any) -> None:
        super().__init__({"quality": quality}, **options)


class Pixelate(CommonCorruption):
    """Shrinks and enlarges without smoothing: :func:`augment.functional.pixelate`.

    Args:
        size: Share of each side's length, from 0 to 1; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.pixelate)

    def __init__(self, size: Range = 0.85, **options: Any) -> None:
        super().__init__({"size": size}, **options)
