"""Flips: how often an adversary turns each label on or off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from perturbsets.intervals import Interval, independent, share_interval, share_of
from perturbsets.label_states import label_states


@dataclass(frozen=True)
class Flips:
    """Which labels of which images were turned.

    Attributes:
        turned_off: Whether a label that was on is off now.
        turned_on: Whether one that was off is on now.
        on: Whether a label was on, and is known now.
        off: Whether it was off, likewise.
        groups: Number of each image's independent unit; without them every image is its own.
    """

    turned_off: Bool[Tensor, "B L"]
    turned_on: Bool[Tensor, "B L"]
    on: Bool[Tensor, "B L"]
    off: Bool[Tensor, "B L"]
    groups: Tensor | None = None

    def shares_turned_off(self) -> list[Interval | None]:
        """Of each label the share turned off of those that were on, with interval; ``None`` where none was."""
        return self._shares(self.turned_off, self.on)

    def shares_turned_on(self) -> list[Interval | None]:
        """Of each label the share turned on of those that were off, with interval; ``None`` where none was."""
        return self._shares(self.turned_on, self.off)

    def summary(self) -> dict[str, Any]:
        """The shares as plain values, with the mean number of flips of an image and the share of images with any."""
        turned = self.turned_off | self.turned_on
        return {
            "images": len(turned),
            "independent": independent(len(turned), self.groups),
            "flips": share_interval(turned, self.groups).scaled(float(turned.shape[1]))._asdict(),
            "any": share_interval(turned.any(1), self.groups)._asdict(),
            "labels": [
                {"turned_off": off and off._asdict(), "turned_on": on and on._asdict()}
                for off, on in zip(self.shares_turned_off(), self.shares_turned_on(), strict=True)
            ],
        }

    def _shares(self, turned: Tensor, were: Tensor) -> list[Interval | None]:
        """Of each label the share turned of those that were so."""
        return [share_of(flags, rows, self.groups) for flags, rows in zip(turned.T, were.T, strict=True)]


def flips(before: Tensor, after: Tensor, groups: Tensor | None = None) -> Flips:
    """Compares the states of labels before and after a change.

    Args:
        before: States ``[B, L]`` before, such as predictions on clean images: 1 or true for on, 0 for off, NaN for
            unknown.
        after: States after. A state that is unknown before or after does not count.
        groups: Number of each image's independent unit; by default every image is its own.

    Returns:
        What was turned, which way.

    Raises:
        ValueError: If there are no images, states are others, or their shapes differ.

    Example:
        >>> import torch
        >>> found = flips(torch.tensor([[True, False], [True, True]]), torch.tensor([[False, False], [True, True]]))
        >>> found.shares_turned_off()[0].mean, found.shares_turned_on()[0]
        (0.5, None)
    """
    before, after = compared(before, after)
    counted = ~before.isnan() & ~after.isnan()
    on, off = (before == 1) & counted, (before == 0) & counted
    return Flips(on & (after == 0), off & (after == 1), on, off, groups)


def compared(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """States before and after, checked, on one device.

    Raises:
        ValueError: If there are no images, states are others, or their shapes differ.
    """
    if before.shape != after.shape or not len(before):
        raise ValueError(
            "before and after must be states [B, L] of the same labels of the same images, at least one, got "
            f"{list(before.shape)} and {list(after.shape)}"
        )
    first, second = (label_states(states, len(before), each_known=False) for states in (before, after))
    return first, second.to(first.device)
