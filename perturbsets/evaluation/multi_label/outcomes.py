"""Outcomes of attacks towards a pattern of labels: is what was asked for reached, and what else was turned?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from perturbsets._types import Flags
from perturbsets.evaluation.multi_label.flips import compared
from perturbsets.intervals import independent, share_interval, share_of
from perturbsets.label_states import label_states


@dataclass(frozen=True)
class TargetOutcomes:
    """What came of targets, counted for each image.

    Attributes:
        asked: Labels asked to change: the target is known, and another state than before.
        reached: Those of them that have the state asked for.
        collateral: Labels not asked to change that did.
        labels: Number of labels of an image.
        groups: Number of each image's independent unit; without them every image is its own.
    """

    asked: Int64[Tensor, " B"]
    reached: Int64[Tensor, " B"]
    collateral: Int64[Tensor, " B"]
    labels: int
    groups: Tensor | None = None

    @property
    def successful(self) -> Flags:
        """Images of which something was asked, and all of it reached."""
        return (self.asked > 0) & (self.reached == self.asked)

    def summary(self) -> dict[str, Any]:
        """Shares and means with intervals at 95 % over independent units.

        ``success`` is the share of images with all states asked for; ``clean_success`` those of them without a
        collateral flip; ``reached`` the share of the states asked for. The three are over the images of which something
        was asked, ``None`` where there is none. ``collateral`` is the mean number of collateral flips of an image,
        ``undisturbed`` the share of all images without any.
        """
        some = self.asked > 0
        clean = self.successful & (self.collateral == 0)
        every = torch.full_like(self.collateral, self.labels)
        collateral = share_interval(self.collateral, self.groups, over=every)
        return {
            "images": len(some),
            "independent": independent(len(some), self.groups),
            "asked": int(some.sum()),
            "success": self._share(self.successful, some),
            "clean_success": self._share(clean, some),
            "reached": share_interval(self.reached, self.groups, over=self.asked)._asdict() if some.any() else None,
            "collateral": collateral.scaled(float(self.labels))._asdict(),
            "undisturbed": share_interval(self.collateral == 0, self.groups)._asdict(),
        }

    def _share(self, flags: Flags, of: Flags) -> dict[str, Any] | None:
        found = share_of(flags, of, self.groups)
        return None if found is None else found._asdict()


def outcomes(before: Tensor, after: Tensor, targets: Tensor, groups: Tensor | None = None) -> TargetOutcomes:
    """Tells of each image what was asked for, what of it was reached, and what else was turned.

    Args:
        before: States ``[B, L]`` that the model predicts for clean images: 1 or true for on, 0 for off. What is
            unknown (NaN) before or after is asked for where the target is known, and is never collateral.
        after: States that it predicts for the changed ones.
        targets: States asked for; NaN leaves a label free.
        groups: Number of each image's independent unit; by default every image is its own.

    Returns:
        Counts per image, with ``summary()``.

    Raises:
        ValueError: If there are no images, states are others, or their shapes differ.

    Example:
        >>> import torch
        >>> before, after = torch.tensor([[1, 0, 0]]), torch.tensor([[0, 0, 1]])
        >>> found = outcomes(before, after, torch.tensor([[0.0, torch.nan, torch.nan]]))
        >>> found.successful.tolist(), found.collateral.tolist()
        ([True], [1])
    """
    before, after = compared(before, after)
    if targets.shape != before.shape:
        raise ValueError(
            f"targets must be states of the same labels of the same images, {list(before.shape)}, got "
            f"{list(targets.shape)}: mark labels that are free by NaN"
        )
    targets = label_states(targets, len(before), each_known=False).to(before.device)
    asked = ~targets.isnan() & (targets != before)
    turned = (before - after).abs() == 1
    reached, collateral = (asked & (after == targets)).sum(1), (turned & ~asked).sum(1)
    return TargetOutcomes(asked.sum(1), reached, collateral, before.shape[1], groups)
