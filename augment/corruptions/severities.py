"""The common corruptions by name and severity, with their published settings."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, SupportsIndex

from augment.corruptions.base import CommonCorruption, Range
from augment.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from augment.corruptions.digital import Brightness, Contrast, ElasticTransform, JpegCompression, Pixelate, Saturate
from augment.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from augment.corruptions.weather import Fog, Frost, Snow, Spatter

# The published settings of the common corruptions: two sets of constants, five severities each. References: Hendrycks
# and Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR 2019, and the
# program that made its data sets.


Constants = Literal["cifar-c", "imagenet-c"]
"""Which constants: those for images of 32 pixels, or of 224."""

Table = Mapping[str, tuple[Mapping[str, Range], ...]]


def _five(*names: str, of: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """Five severities: named settings, each a number or as many numbers as names."""
    return tuple(dict(zip(names, each if len(names) > 1 else (each,), strict=True)) for each in of)


def _times(pixels: int, shares: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """Shares of a width in pixels."""
    return tuple(tuple(pixels * share for share in each) for each in shares)


# The program's largest zooms are those that its floating-point range reaches: 1.06 is one of "below 1.06".
CIFAR_C: Table = {
    # noise
    "gaussian_noise": _five("scale", of=(0.04, 0.06, 0.08, 0.09, 0.1)),
    "impulse_noise": _five("amount", of=(0.01, 0.02, 0.03, 0.05, 0.07)),
    "shot_noise": _five("peak", of=(500.0, 250.0, 100.0, 75.0, 50.0)),
    "speckle_noise": _five("scale", of=(0.06, 0.1, 0.12, 0.16, 0.2)),
    # blur
    "defocus_blur": _five("radius", "sigma", of=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))),
    "gaussian_blur": _five("sigma", of=(0.4, 0.6, 0.7, 0.8, 1.0)),
    "glass_blur": _five(
        "sigma", "distance", "passes", of=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    ),
    "motion_blur": _five("radius", "sigma", of=((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))),
    "zoom_blur": _five("largest", "step", of=((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01))),
    # weather
    "brightness": _five("shift", of=(0.05, 0.1, 0.15, 0.2, 0.3)),
    "fog": _five("amount", "decay", of=((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))),
    "frost": _five(
        "weight",
        "amount",
        "scale",
        of=((1.0, 0.2, 0.2), (1.0, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    ),
    "snow": _five(
        "mean",
        "deviation",
        "zoom",
        "threshold",
        "radius",
        "sigma",
        "weight",
        of=(
            (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
        ),
    ),
    "spatter": _five(
        "mean",
        "deviation",
        "sigma",
        "threshold",
        "strength",
        "mud",
        of=(
            (0.62, 0.1, 0.7, 0.7, 0.5, 0.0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0.0),
            (0.65, 0.3, 1.0, 0.69, 0.5, 0.0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1.0),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1.0),
        ),
    ),
    # digital
    "contrast": _five("factor", of=(0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": _five(
        "displacement",
        "sigma",
        "tilt",
        of=_times(32, ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))),
    ),
    "jpeg_compression": _five("quality", of=(80, 65, 58, 50, 40)),
    "pixelate": _five("size", of=(0.95, 0.9, 0.85, 0.75, 0.65)),
    "saturate": _five("factor", "shift", of=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))),
}

IMAGENET_C: Table = {
    # noise
    "gaussian_noise": _five("scale", of=(0.08, 0.12, 0.18, 0.26, 0.38)),
    "impulse_noise": _five("amount", of=(0.03, 0.06, 0.09, 0.17, 0.27)),
    "shot_noise": _five("peak", of=(60.0, 25.0, 12.0, 5.0, 3.0)),
    "speckle_noise": _five("scale", of=(0.15, 0.2, 0.35, 0.45, 0.6)),
    # blur
    "defocus_blur": _five("radius", "sigma", of=((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))),
    "gaussian_blur": _five("sigma", of=(1.0, 2.0, 3.0, 4.0, 6.0)),
    "glass_blur": _five(
        "sigma", "distance", "passes", of=((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    ),
    "motion_blur": _five("radius", "sigma", of=((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))),
    "zoom_blur": _five("largest", "step", of=((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03))),
    # weather
    "brightness": _five("shift", of=(0.1, 0.2, 0.3, 0.4, 0.5)),
    "fog": _five("amount", "decay", of=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))),
    "frost": _five("weight", "amount", of=((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "snow": _five(
        "mean",
        "deviation",
        "zoom",
        "threshold",
        "radius",
        "sigma",
        "weight",
        of=(
            (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
        ),
    ),
    "spatter": _five(
        "mean",
        "deviation",
        "sigma",
        "threshold",
        "strength",
        "mud",
        of=(
            (0.65, 0.3, 4.0, 0.69, 0.6, 0.0),
            (0.65, 0.3, 3.0, 0.68, 0.6, 0.0),
            (0.65, 0.3, 2.0, 0.68, 0.5, 0.0),
            (0.65, 0.3, 1.0, 0.65, 1.5, 1.0),
            (0.67, 0.4, 1.0, 0.65, 1.5, 1.0),
        ),
    ),
    # digital
    "contrast": _five("factor", of=(0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": _five(
        "displacement",
        "sigma",
        "tilt",
        of=_times(244, ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))),
    ),
    "jpeg_compression": _five("quality", of=(25, 18, 15, 10, 7)),
    "pixelate": _five("size", of=(0.6, 0.5, 0.4, 0.3, 0.25)),
    "saturate": _five("factor", "shift", of=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))),
}

SETTINGS: Mapping[str, Table] = {"cifar-c": CIFAR_C, "imagenet-c": IMAGENET_C}
"""Arguments of each corruption's class, by constants, name and severity less one."""


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
