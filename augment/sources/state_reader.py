"""States of labels from what a list says: 0, 1 or nothing, or intensities above a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StateReader:
    """Reads the states of a row.

    Args:
        manifest: The list, for messages.
        labels: Names of the columns.
        threshold: The least intensity at which a label is on; None where values are states themselves.
        highest: The largest intensity.
    """

    manifest: str
    labels: tuple[str, ...]
    threshold: float | None
    highest: float

    def __call__(self, line: int, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The state of each label: 1 on, 0 off, NaN unknown.

        Raises:
            ValueError: If a value is something else; the message names its line and column.
        """
        return tuple(self._state(line, label, row.get(label, math.nan)) for label in self.labels)

    def _state(self, line: int, label: str, value: Any) -> float:
        number = _number(value)
        if number is not None and math.isnan(number):
            return math.nan
        if self.threshold is None:
            if number not in (0.0, 1.0):
                raise ValueError(
                    f"{self.manifest}, line {line}: {label} must be 0, 1 or empty, got {value!r}: give a threshold "
                    "where values are intensities, or name the columns of labels where this is none"
                )
            return float(number)
        if number is None or not 0 <= number <= self.highest:
            raise ValueError(
                f"{self.manifest}, line {line}: {label} must be an intensity from 0 to {self.highest:g} or empty, got "
                f"{value!r}: leave empty what is unknown, or give the highest intensity"
            )
        return float(number >= self.threshold)


def _number(value: Any) -> float | None:
    """A value as a number; None where it is none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
