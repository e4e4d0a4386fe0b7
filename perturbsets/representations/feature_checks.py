"""Refuses features that cannot be measured: of no common shape, or not finite."""

from __future__ import annotations

from torch import Tensor

from perturbsets.row_names import named_rows


def check_features(**named: Tensor) -> None:
    """Refuses features that do not fit together, by the names they were given under.

    Args:
        **named: Features ``[B, D]`` or ``[B, m, D]``.

    Raises:
        TypeError: If features are no floating point numbers.
        ValueError: If they differ in their number of rows or of features, or one is not finite.
    """
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    if len({(shape[0], shape[-1]) for shape in shapes.values()}) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"features must be of equally many rows (first) and features (last), got {said}")
    for name, value in named.items():
        if not value.is_floating_point():
            raise TypeError(f"{name} must be floating point features, got {value.dtype}: convert them by .float()")
        finite = value.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            raise ValueError(
                f"{name} must be finite, got NaN or infinity in {named_rows(~finite)}: look at the images and the layer"
            )
