"""Blurs as transforms."""

from __future__ import annotations

from typing import Any

from augment import functional
from augment.corruptions.base import CommonCorruption, Range


class DefocusBlur(CommonCorruption):
    """Blurs as a lens out of focus does: :func:`augment.functional.defocus_blur`.

    Args:
        radius: Radius of the disk in pixels; a number, or (low, high).
        sigma: Standard deviation in pixels of the Gaussian that softens its rim; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.defocus_blur)

    def __init__(self, radius: Range = 0.5, sigma: Range = 0.6, **options: Any) -> None:
        super().__init__({"radius": radius, "sigma": sigma}, **options)


class GaussianBlur(CommonCorruption):
    """Blurs by a Gaussian: :func:`augment.functional.gaussian_blur`.

    Args:
        sigma: Standard deviation in pixels; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.gaussian_blur)

    def __init__(self, sigma: Range = 0.7, **options: Any) -> None:
        super().__init__({"sigma": sigma}, **options)


class GlassBlur(CommonCorruption):
    """Displaces pixels by small random amounts, between two blurs: :func:`augment.functional.glass_blur`.

    Args:
        sigma: Standard deviation of both blurs in pixels; a number, or (low, high).
        distance: Farthest displacement in pixels, a whole number.
        passes: How often pixels are displaced.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.glass_blur)

    def __init__(self, sigma: Range = 0.4, distance: int = 1, passes: int = 1, **options: Any) -> None:
        super().__init__({"sigma": sigma, "distance": distance, "passes": passes}, **options)


class MotionBlur(CommonCorruption):
    """Blurs along a line: :func:`augment.functional.motion_blur`.

    Args:
        radius: Radius in pixels, a whole number: the line holds twice as many and one.
        sigma: Standard deviation of its weights in pixels; a number, or (low, high).
        angle: Angle of the line in degrees, 0 to the right and 90 downwards; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.motion_blur)

    def __init__(self, radius: int = 6, sigma: Range = 2.0, angle: Range = (-45.0, 45.0), **options: Any) -> None:
        super().__init__({"radius": radius, "sigma": sigma, "angle": angle}, **options)


class ZoomBlur(CommonCorruption):
    """Averages an image and its zooms: :func:`augment.functional.zoom_blur`.

    Args:
        largest: Largest factor; a number, or (low, high).
        step: Step between factors.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.zoom_blur)

    def __init__(self, largest: Range = 1.16, step: float = 0.01, **options: Any) -> None:
        super().__init__({"largest": largest, "step": step}, **options)
