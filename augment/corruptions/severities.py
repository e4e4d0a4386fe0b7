"""The published settings of the common corruptions: two sets of constants, five severities each.

References:
    Hendrycks and Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR
    2019, and the program that made its data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from augment.corruptions.base import CommonCorruption, Range
from augment.corruptions.noise import GaussianNoise

Constants = Literal["cifar-c", "imagenet-c"]
"""Which constants: those for images of 32 pixels, or of 224."""

CLASSES: Mapping[str, Callable[..., CommonCorruption]] = {
    "gaussian_noise": GaussianNoise,
}
"""The 19 corruptions by their published names."""

Table = Mapping[str, tuple[Mapping[str, Range], ...]]

CIFAR_C: Table = {
    "gaussian_noise": tuple({"scale": scale} for scale in (0.04, 0.06, 0.08, 0.09, 0.10)),
}

IMAGENET_C: Table = {
    "gaussian_noise": tuple({"scale": scale} for scale in (0.08, 0.12, 0.18, 0.26, 0.38)),
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
