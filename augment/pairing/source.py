"""A pair source: a plan of pairs, and the making of their images unit by unit."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch

from augment.pairing.plan import Made, PairPlan


@runtime_checkable
class PairSource(Protocol):
    """What :func:`augment.write_pairs` stores.

    Planning is separate from making: units can be made in any order and in any process, and made again after a kill.
    With several processes the source is pickled.
    """

    def plan(self) -> PairPlan:
        """Which pairs there will be; reads no pixels, and is the same at each call."""

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """The images of some units, the same whatever other units are made with them.

        Raises:
            ValueError: If something is wrong beyond single images: those are reported as faults.
        """

    def describe(self) -> dict[str, Any]:
        """What made the pairs, as plain values for the record in the file."""
