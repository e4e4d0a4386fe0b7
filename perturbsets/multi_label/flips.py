"""What attacks do to labels: flips, target states attained, and success at k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from perturbsets._types import Flags
from perturbsets.intervals import Interval, independent, share_interval, share_of
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.classification import check_finite
from perturbsets.printing import Result


@dataclass(frozen=True)
class Flips(Result):
    """Which labels of which images an attack turned on or off.

    Attributes:
        turned_off: Whether a label that was on is off now.
        turned_on: Whether one that was off is on now.
        on: Whether a label was on before, and is known after.
        off: Whether it was off before, likewise.
        groups: Number of each image's independent unit; by default every image is its own.
    """

    turned_off: Bool[Tensor, "B L"]
    turned_on: Bool[Tensor, "B L"]
    on: Bool[Tensor, "B L"]
    off: Bool[Tensor, "B L"]
    groups: Tensor | None = None

    def shares_turned_off(self) -> list[Interval | None]:
        """Per label, the share of on-states turned off, with interval; ``None`` where none was on."""
        return self._shares(self.turned_off, self.on)

    def shares_turned_on(self) -> list[Interval | None]:
        """Per label, the share of off-states turned on, with interval; ``None`` where none was off."""
        return self._shares(self.turned_on, self.off)

    def summary(self) -> dict[str, Any]:
        """The shares as plain values, with the mean number of flips per image and the share of images with any."""
        flipped = self.turned_off | self.turned_on
        return {
            "images": len(flipped),
            "independent": independent(len(flipped), self.groups),
            "flips": share_interval(flipped, self.groups).scaled(float(flipped.shape[1]))._asdict(),
            "any": share_interval(flipped.any(1), self.groups)._asdict(),
            "labels": [
                {"turned_off": off and off._asdict(), "turned_on": on and on._asdict()}
                for off, on in zip(self.shares_turned_off(), self.shares_turned_on(), strict=True)
            ],
        }

    def _shares(self, flipped: Tensor, before: Tensor) -> list[Interval | None]:
        return [share_of(flags, rows, self.groups) for flags, rows in zip(flipped.T, before.T, strict=True)]


def flips(before: Tensor, after: Tensor, groups: Tensor | None = None) -> Flips:
    """Compares the states of labels before and after an attack.

    Args:
        before: States ``[B, L]`` before, such as predictions on clean images: 1 or true for on, 0 for off, NaN for
            unknown.
        after: States after. A state that is unknown before or after does not count.
        groups: Number of each image's independent unit; by default every image is its own.

    Raises:
        ValueError: If there are no images, states are not 0, 1 or NaN, or their shapes differ.

    Example:
        >>> both = flips(torch.tensor([[True, False], [True, True]]), torch.tensor([[False, False], [True, True]]))
        >>> both.shares_turned_off()[0].mean, both.shares_turned_on()[0]
        (0.5, None)
    """
    before, after = _compared(before, after)
    counted = ~before.isnan() & ~after.isnan()
    on, off = (before == 1) & counted, (before == 0) & counted
    return Flips(on & (after == 0), off & (after == 1), on, off, groups)


def _compared(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """States before and after, checked, on one device."""
    if before.shape != after.shape or not len(before):
        raise ValueError(
            "before and after must be states [B, L] of the same labels of the same images, at least one, got "
            f"{list(before.shape)} and {list(after.shape)}"
        )
    first, second = (label_states(states, len(before), each_known=False) for states in (before, after))
    return first, second.to(first.device)


@dataclass(frozen=True)
class TargetOutcomes(Result):
    """What a targeted attack on labels attained, counted per image.

    Attributes:
        asked: Labels asked to change: the target is known, and differs from the state before.
        attained: Those of them that have their target state.
        collateral: Labels not asked to change that did.
        labels: Number of labels of an image.
        groups: Number of each image's independent unit; by default every image is its own.
    """

    asked: Int64[Tensor, " B"]
    attained: Int64[Tensor, " B"]
    collateral: Int64[Tensor, " B"]
    labels: int
    groups: Tensor | None = None

    @property
    def success(self) -> Flags:
        """Images asked to change with all target states attained."""
        return (self.asked > 0) & (self.attained == self.asked)

    def summary(self) -> dict[str, Any]:
        """Shares and means with intervals at 95 % over independent units.

        ``success`` is the share of images with all target states, ``clean_success`` that without a collateral flip,
        ``attained`` the share of target states; all over the images asked to change, ``None`` where there is none.
        ``collateral`` is the mean number of collateral flips per image, ``undisturbed`` the share of all images without
        any.
        """
        some = self.asked > 0
        clean = self.success & (self.collateral == 0)
        every = torch.full_like(self.collateral, self.labels)
        collateral = share_interval(self.collateral, self.groups, over=every)
        return {
            "images": len(some),
            "independent": independent(len(some), self.groups),
            "asked": int(some.sum()),
            "success": self._share(self.success, some),
            "clean_success": self._share(clean, some),
            "attained": share_interval(self.attained, self.groups, over=self.asked)._asdict() if some.any() else None,
            "collateral": collateral.scaled(float(self.labels))._asdict(),
            "undisturbed": share_interval(self.collateral == 0, self.groups)._asdict(),
        }

    def _share(self, flags: Flags, of: Flags) -> dict[str, Any] | None:
        share = share_of(flags, of, self.groups)
        return share and share._asdict()


def target_outcomes(before: Tensor, after: Tensor, targets: Tensor, groups: Tensor | None = None) -> TargetOutcomes:
    """Counts per image the labels asked to change, those that did, and collateral flips.

    Args:
        before: States ``[B, L]`` that the model predicts for clean images: 1 or true for on, 0 for off. What is
            unknown (NaN) before or after is asked to change where the target is known, and is never collateral.
        after: States that it predicts for the attacked ones.
        targets: Target states; NaN leaves a label free.
        groups: Number of each image's independent unit; by default every image is its own.

    Raises:
        ValueError: If there are no images, states are not 0, 1 or NaN, or their shapes differ.

    Example:
        >>> before, after = torch.tensor([[1, 0, 0]]), torch.tensor([[0, 0, 1]])
        >>> outcomes = target_outcomes(before, after, torch.tensor([[0.0, torch.nan, torch.nan]]))
        >>> outcomes.success.tolist(), outcomes.collateral.tolist()
        ([True], [1])
    """
    before, after = _compared(before, after)
    if targets.shape != before.shape:
        raise ValueError(
            f"targets must be states of the same labels of the same images, {list(before.shape)}, got "
            f"{list(targets.shape)}: mark labels that are free by NaN"
        )
    targets = label_states(targets, len(before), each_known=False).to(before.device)
    asked = ~targets.isnan() & (targets != before)
    flipped = (before - after).abs() == 1
    attained, collateral = (asked & (after == targets)).sum(1), (flipped & ~asked).sum(1)
    return TargetOutcomes(asked.sum(1), attained, collateral, before.shape[1], groups)


def success_at_k(logits: Float[Tensor, "B L"], states: Tensor, k: int, groups: Tensor | None = None) -> Interval:
    """Share of the images none of whose on labels is among the k largest logits.

    A label that equals the k-th largest counts as among them: an attack has to push it below. Images without a label
    that is on have nothing to push out, and do not count.

    Args:
        logits: Logits of the attacked images, one for each label.
        states: True states ``[B, L]``: 1 on, 0 off, NaN unknown. All labels take part in the order, unknown ones too.
        k: Number of first labels, from 1 to L - 1.
        groups: Number of each image's independent unit; by default every image is its own.

    Returns:
        The share, with its interval at 95 %.

    Raises:
        ValueError: If k is outside its range, no label of any image is on, states are not 0, 1 or NaN, or logits are
            not finite or not one for each state.

    Example:
        >>> success_at_k(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]), torch.tensor([[1, 0, 0], [1, 0, 0]]), 1).mean
        0.5
    """
    states = label_states(states, len(logits)).to(logits.device)
    check_label_logits(logits, states)
    check_finite(logits)
    labels = logits.shape[1]
    if not 1 <= k < labels:
        raise ValueError(
            f"k must be at least 1 and below the number of labels, {labels}, got {k}: all labels are among the "
            f"{labels} first"
        )
    on = states == 1
    some = on.any(1)
    if not bool(some.any()):
        raise ValueError("states must have a label that is on in one image at least, got none: nothing is pushed out")
    highest = logits.masked_fill(~on, -torch.inf).amax(1, keepdim=True)
    above = (logits > highest).sum(1)
    return share_interval((above >= k) & some, groups, over=some)
