"""The common corruptions by name and severity, with their published settings."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, SupportsIndex

from augment.corruptions.base import CommonCorruption
from augment.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from augment.corruptions.colour import Brightness, Contrast, Saturate
from augment.corruptions.constants import SETTINGS, Constants
from augment.corruptions.digital import JpegCompression, Pixelate
from augment.corruptions.elastic import ElasticTransform
from augment.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from augment.corruptions.weather import Fog, Frost, Snow, Spatter

CLASSES: Mapping[str, Callable[..., CommonCorruption]] = {
    # noise
    "gaussian_noise": GaussianNoise,
    "impulse_noise": ImpulseNoise,
    "shot_noise": ShotNoise,
    "speckle_noise": SpeckleNoise,
    # blur
    "defocus_blur": DefocusBlur,
    "gaussian_blur": GaussianBlur,
    "glass_blur": GlassBlur,
    "motion_blur": MotionBlur,
    "zoom_blur": ZoomBlur,
    # weather
    "brightness": Brightness,
    "fog": Fog,
    "frost": Frost,
    "snow": Snow,
    "spatter": Spatter,
    # digital
    "contrast": Contrast,
    "elastic_transform": ElasticTransform,
    "jpeg_compression": JpegCompression,
    "pixelate": Pixelate,
    "saturate": Saturate,
}
"""The 19 corruptions by their published names."""


def at_severity(name: str, severity: int, constants: Constants = "cifar-c", **options: Any) -> CommonCorruption:
    """A corruption with its published settings.

    Args:
        name: One of :data:`CLASSES`.
        severity: 1 to 5.
        constants: ``"cifar-c"`` or ``"imagenet-c"``.
        options: As for :class:`augment.corruptions.CommonCorruption`.

    Returns:
        The transform.

    Raises:
        ValueError: If one of the three is unknown; for a name the closest one is suggested.
    """
    check_name(name)
    number = check_severity(severity)
    if constants not in SETTINGS:
        raise ValueError(f"constants must be one of {', '.join(SETTINGS)}, got {constants!r}")
    return CLASSES[name](**SETTINGS[constants][name][number - 1], **options)


def check_name(name: str) -> None:
    """Refuses an unknown corruption, and suggests the closest name."""
    if name not in CLASSES:
        from difflib import get_close_matches

        close = get_close_matches(str(name).lower().replace(" ", "_").replace("-", "_"), CLASSES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(CLASSES))}"
        raise ValueError(f"name must be a common corruption, got {name!r}: {hint}")


def check_severity(severity: Any) -> int:
    """A severity as a plain number; refuses all but 1 to 5."""
    whole = isinstance(severity, SupportsIndex) and not isinstance(severity, bool)
    if not whole or operator.index(severity) not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}: the published settings are five")
    return operator.index(severity)
