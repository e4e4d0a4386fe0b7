"""Outcomes of attacks towards a pattern of labels: is what was asked for reached, and what else was turned?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from perturbsets._types import Flags
from perturbsets.evaluation.multi_label.flips import compared
from perturbsets.intervals import Interval, binomial, bootstrap
from perturbsets.label_states import label_states


@dataclass(frozen=True)
class TargetOutcomes:
    """What came of targets, counted for each image.

    Attributes:
        asked: Labels asked to change: the target is known, and another state than before.
        reached: Those of them that have the state asked for.
        collateral: Labels not asked to change that did.
    """

    asked: Int64[Tensor, " B"]
    reached: Int64[Tensor, " B"]
    collateral: Int64[Tensor, " B"]

    @property
    def successful(self) -> Flags:
        """Images of which something was asked, and all of it reached."""
        return (self.asked > 0) & (self.reached == self.asked)

    def summary(self) -> dict[str, Any]:
        """Shares and means with intervals at 95 %, exact ones for shares of images.

        ``success`` is the share of images with all states asked for; ``clean_success`` those of them without a
        collateral flip; ``reached`` the share of the states asked for. The three are over the images of which something
        was asked, ``None`` where there is none. ``collateral`` is the mean number of collateral flips of an image,
        ``undisturbed`` the share of all images without any.
        """
        some = self.asked > 0
        clean = self.successful & (self.collateral == 0)
        return {
            "images": len(some),
            "asked": int(some.sum()),
            "success": _share(self.successful, some),
            "clean_success": _share(clean, some),
            "reached": bootstrap(self.reached[some], over=self.asked[some])._asdict() if bool(some.any()) else None,
            "collateral": bootstrap(self.collateral)._asdict(),
            "undisturbed": binomial(int((self.collateral == 0).sum()), len(some))._asdict(),
        }


def outcomes(before: Tensor, after: Tensor, targets: Tensor) -> TargetOutcomes:
    """Tells of each image what was asked for, what of it was reached, and what else was turned.

    Args:
        before: States ``[B, L]`` that the model predicts for clean images: 1 or true for on, 0 for off. What is
            unknown (NaN) before or after is asked for where the target is known, and is never collateral.
        after: States that it predicts for the changed ones.
        targets: States asked for; NaN leaves a label free.

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
    return TargetOutcomes(asked.sum(1), (asked & (after == targets)).sum(1), (turned & ~asked).sum(1))


def _share(flags: Flags, of: Flags) -> dict[str, float] | None:
    found: Interval | None = binomial(int(flags[of].sum()), int(of.sum())) if bool(of.any()) else None
    return None if found is None else found._asdict()
