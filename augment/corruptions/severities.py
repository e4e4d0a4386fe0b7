"""The published settings of the common corruptions: two sets of constants, five severities each.

References:
    Hendrycks and Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR
    2019, and the program that made its data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from augment.corruptions.base import CommonCorruption, Range
from augment.corruptions.colour import Brightness, Contrast, Saturate
from augment.corruptions.elastic import ElasticTransform
from augment.corruptions.noise import GaussianNoise
from augment.corruptions.weather import Fog, Frost, Snow, Spatter

Constants = Literal["cifar-c", "imagenet-c"]
"""Which constants: those for images of 32 pixels, or of 224."""

CLASSES: Mapping[str, Callable[..., CommonCorruption]] = {
    # noise
    "gaussian_noise": GaussianNoise,
    # weather
    "brightness": Brightness,
    "fog": Fog,
    "frost": Frost,
    "snow": Snow,
    "spatter": Spatter,
    # digital
    "contrast": Contrast,
    "elastic_transform": ElasticTransform,
    "saturate": Saturate,
}
"""The 19 corruptions by their published names."""

Table = Mapping[str, tuple[Mapping[str, Range], ...]]


def _five(*names: str, of: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """Five severities: named settings, each a number or as many numbers as names."""
    return tuple(dict(zip(names, each if len(names) > 1 else (each,), strict=True)) for each in of)


def _times(pixels: int, shares: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """Shares of a width in pixels."""
    return tuple(tuple(pixels * share for share in each) for each in shares)


CIFAR_C: Table = {
    # noise
    "gaussian_noise": _five("scale", of=(0.04, 0.06, 0.08, 0.09, 0.1)),
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
    "saturate": _five("factor", "shift", of=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))),
}

IMAGENET_C: Table = {
    # noise
    "gaussian_noise": _five("scale", of=(0.08, 0.12, 0.18, 0.26, 0.38)),
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
    "saturate": _five("factor", "shift", of=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))),
}

SETTINGS: Mapping[str, Table] = {"cifar-c": CIFAR_C, "imagenet-c": IMAGENET_C}
"""Arguments of each corruption's class, by constants, name and severity less one."""


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
    check_severity(severity)
    if constants not in SETTINGS:
        raise ValueError(f"constants must be one of {', '.join(SETTINGS)}, got {constants!r}")
    return CLASSES[name](**SETTINGS[constants][name][severity - 1], **options)


def check_name(name: str) -> None:
    """Refuses an unknown corruption, and suggests the closest name."""
    if name not in CLASSES:
        from difflib import get_close_matches

        close = get_close_matches(str(name).lower().replace(" ", "_").replace("-", "_"), CLASSES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(CLASSES))}"
        raise ValueError(f"name must be a common corruption, got {name!r}: {hint}")


def check_severity(severity: int) -> None:
    """Refuses severities other than 1 to 5."""
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}: the published settings are five")
