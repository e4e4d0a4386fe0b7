"""The published settings of the common corruptions: two sets of constants, five severities each."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, SupportsIndex

from augment.corruptions import common
from augment.corruptions.base import CommonCorruption, Range

Constants = Literal["cifar-c", "imagenet-c"]
"""Which constants: those for images of 32 pixels, or of 224."""

Table = Mapping[str, tuple[Mapping[str, Range], ...]]

_CORRUPTIONS: Mapping[str, tuple[type[CommonCorruption], str]] = {
    "gaussian_noise": (common.GaussianNoise, "scale"),
    "impulse_noise": (common.ImpulseNoise, "amount"),
    "shot_noise": (common.ShotNoise, "peak"),
    "speckle_noise": (common.SpeckleNoise, "scale"),
    "defocus_blur": (common.DefocusBlur, "radius sigma"),
    "gaussian_blur": (common.GaussianBlur, "sigma"),
    "glass_blur": (common.GlassBlur, "sigma distance passes"),
    "motion_blur": (common.MotionBlur, "radius sigma"),
    "zoom_blur": (common.ZoomBlur, "largest step"),
    "brightness": (common.Brightness, "shift"),
    "fog": (common.Fog, "amount decay"),
    "frost": (common.Frost, "weight amount scale"),
    "snow": (common.Snow, "mean deviation zoom threshold radius sigma weight"),
    "spatter": (common.Spatter, "mean deviation sigma threshold strength mud"),
    "contrast": (common.Contrast, "factor"),
    "elastic_transform": (common.ElasticTransform, "displacement sigma tilt"),
    "jpeg_compression": (common.JpegCompression, "quality"),
    "pixelate": (common.Pixelate, "size"),
    "saturate": (common.Saturate, "factor shift"),
}
"""Each corruption's class, and the arguments that the severities set."""

CLASSES: Mapping[str, type[CommonCorruption]] = {name: kind for name, (kind, _) in _CORRUPTIONS.items()}
"""The 19 corruptions by their published names."""


def _table(pixels: int, **values: tuple[Any, ...]) -> Table:
    """Arguments of each corruption by severity, from their values; elastic ones are shares of a width in pixels."""
    values["elastic_transform"] = tuple(tuple(pixels * share for share in each) for each in values["elastic_transform"])
    table: dict[str, tuple[dict[str, Any], ...]] = {}
    for name, (_, arguments) in _CORRUPTIONS.items():
        rows = (each if isinstance(each, tuple) else (each,) for each in values[name])
        table[name] = tuple(dict(zip(arguments.split(), row, strict=True)) for row in rows)
    return table


# The program's largest zooms are those that its floating-point range reaches: 1.06 is one of "below 1.06".
CIFAR_C = _table(
    32,
    gaussian_noise=(0.04, 0.06, 0.08, 0.09, 0.1),
    impulse_noise=(0.01, 0.02, 0.03, 0.05, 0.07),
    shot_noise=(500.0, 250.0, 100.0, 75.0, 50.0),
    speckle_noise=(0.06, 0.1, 0.12, 0.16, 0.2),
    defocus_blur=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    gaussian_blur=(0.4, 0.6, 0.7, 0.8, 1.0),
    glass_blur=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    motion_blur=((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
    zoom_blur=((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01)),
    brightness=(0.05, 0.1, 0.15, 0.2, 0.3),
    fog=((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    frost=((1.0, 0.2, 0.2), (1.0, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    snow=(
        (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
    ),
    spatter=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0.0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0.0),
        (0.65, 0.3, 1.0, 0.69, 0.5, 0.0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1.0),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1.0),
    ),
    contrast=(0.75, 0.5, 0.4, 0.3, 0.15),
    elastic_transform=((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    jpeg_compression=(80, 65, 58, 50, 40),
    pixelate=(0.95, 0.9, 0.85, 0.75, 0.65),
    saturate=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
)

IMAGENET_C = _table(
    244,
    gaussian_noise=(0.08, 0.12, 0.18, 0.26, 0.38),
    impulse_noise=(0.03, 0.06, 0.09, 0.17, 0.27),
    shot_noise=(60.0, 25.0, 12.0, 5.0, 3.0),
    speckle_noise=(0.15, 0.2, 0.35, 0.45, 0.6),
    defocus_blur=((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    gaussian_blur=(1.0, 2.0, 3.0, 4.0, 6.0),
    glass_blur=((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    motion_blur=((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    zoom_blur=((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03)),
    brightness=(0.1, 0.2, 0.3, 0.4, 0.5),
    fog=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    frost=((1.0, 0.4, 1.0), (0.8, 0.6, 1.0), (0.7, 0.7, 1.0), (0.65, 0.7, 1.0), (0.6, 0.75, 1.0)),
    snow=(
        (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
    ),
    spatter=(
        (0.65, 0.3, 4.0, 0.69, 0.6, 0.0),
        (0.65, 0.3, 3.0, 0.68, 0.6, 0.0),
        (0.65, 0.3, 2.0, 0.68, 0.5, 0.0),
        (0.65, 0.3, 1.0, 0.65, 1.5, 1.0),
        (0.67, 0.4, 1.0, 0.65, 1.5, 1.0),
    ),
    contrast=(0.4, 0.3, 0.2, 0.1, 0.05),
    elastic_transform=((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    jpeg_compression=(25, 18, 15, 10, 7),
    pixelate=(0.6, 0.5, 0.4, 0.3, 0.25),
    saturate=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
)

SETTINGS: Mapping[str, Table] = {"cifar-c": CIFAR_C, "imagenet-c": IMAGENET_C}
"""Arguments of each corruption's class, by constants, name and severity less one.

References:
    Hendrycks and Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR
    2019, and the program that made its data sets.
"""


def at_severity(name: str, severity: int, constants: Constants = "cifar-c", **options: Any) -> CommonCorruption:
    """A corruption with its published settings, and the options of :class:`augment.corruptions.CommonCorruption`.

    Raises:
        ValueError: If name, severity or constants are unknown; for a name the closest one is suggested.
    """
    check_name(name)
    number = check_severity(severity)
    if constants not in SETTINGS:
        raise ValueError(f"constants must be one of {', '.join(SETTINGS)}, got {constants!r}")
    made: Any = CLASSES[name]
    return made(**SETTINGS[constants][name][number - 1], **options)


def check_name(name: str) -> None:
    """Refuses an unknown corruption, and suggests the closest name."""
    if name not in CLASSES:
        close = get_close_matches(str(name).lower().replace(" ", "_").replace("-", "_"), CLASSES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(CLASSES))}"
        raise ValueError(f"name must be a common corruption, got {name!r}: {hint}")


def check_severity(severity: Any) -> int:
    """A severity as a plain number; refuses all but 1 to 5."""
    whole = isinstance(severity, SupportsIndex) and not isinstance(severity, bool)
    if not whole or operator.index(severity) not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}: the published settings are five")
    return operator.index(severity)
