"""Scores of a multi-label classifier over known states: precision, F1, Hamming and ranking loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import PerImage
from perturbsets.intervals import Interval, independent, share_interval, share_of
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.classification import check_finite
from perturbsets.printing import Result


@dataclass(frozen=True)
class MultiLabelScores(Result):
    """How well a classifier predicts which labels are on; intervals are over independent units, at 95 %.

    Attributes:
        average_precision: Per label, NaN where none of its known states is on.
        f1: Per label, NaN where none of its known states is on or predicted on.
        on: Number of known states that are on, per label.
        off: Number of those that are off.
        micro_f1: F1 of all states together; ``None`` where none is on or predicted on.
        hamming_loss: Share of known states that are predicted wrongly.
        ranking_loss: Mean over images of the share of their pairs of an on and an off label in which the off one ranks
            as high or higher; ``None`` where no image has such a pair.
        exact_match: Share of images whose known states are all predicted correctly.
        images: Number of images.
        independent: Number of independent units among them.
    """

    average_precision: Float[Tensor, " L"]
    f1: Float[Tensor, " L"]
    on: Int64[Tensor, " L"]
    off: Int64[Tensor, " L"]
    micro_f1: Interval | None
    hamming_loss: Interval
    ranking_loss: Interval | None
    exact_match: Interval
    images: int
    independent: int

    @property
    def mean_average_precision(self) -> float:
        """Mean over the labels that have one; NaN where none has."""
        return float(self.average_precision.nanmean())

    @property
    def macro_f1(self) -> float:
        """Mean over the labels that have one; NaN where none has."""
        return float(self.f1.nanmean())

    def summary(self) -> dict[str, Any]:
        """The scores as plain values; ``None`` where one is not defined."""
        kinds = ("micro_f1", "hamming_loss", "ranking_loss", "exact_match")
        intervals: dict[str, Interval | None] = {name: getattr(self, name) for name in kinds}
        return {
            "images": self.images,
            "independent": self.independent,
            "mean_average_precision": _plain(self.mean_average_precision),
            "macro_f1": _plain(self.macro_f1),
            **{name: interval and interval._asdict() for name, interval in intervals.items()},
            "labels": [
                {"average_precision": _plain(precision), "f1": _plain(f1), "on": on, "off": off}
                for precision, f1, on, off in zip(
                    self.average_precision.tolist(), self.f1.tolist(), self.on.tolist(), self.off.tolist(), strict=True
                )
            ],
        }


def multi_label_scores(logits: Float[Tensor, "B L"], states: Tensor, groups: Tensor | None = None) -> MultiLabelScores:
    r"""Evaluates logits against true states, by label and by image.

    A label is predicted on where its logit is above 0. For a label with :math:`h_t` on-states among its t highest
    logits, h in all, w true positives, and :math:`w^+, w^-` false positives and negatives,

    .. math:: \mathrm{AP} = \sum_t \frac{h_t}{t} \cdot \frac{h_t - h_{t-1}}{h}, \qquad
        \mathrm{F}_1 = \frac{2 w}{2 w + w^+ + w^-}

    Equal logits enter the average precision together, and count as wrong in the ranking loss. What is not defined (a
    label none of whose states is on, an image without a pair to rank) is left out of means: see ``on`` and ``off``.

    Args:
        logits: One for each label of each image.
        states: ``[B, L]``: 1 on, 0 off, NaN unknown.
        groups: Number of each image's independent unit; by default every image is its own.

    Raises:
        ValueError: If there are no images, states are not 0, 1 or NaN or all of an image's are unknown, or logits are
            not finite or not one for each state.

    References:
        Zhang and Zhou, *A review on multi-label learning algorithms*, 2014, sec. 2.2.

    Example:
        >>> scores = multi_label_scores(torch.tensor([[2.0, -1.0], [1.0, 3.0]]), torch.tensor([[1, 0], [0, 1]]))
        >>> scores.hamming_loss.mean, scores.exact_match.mean, scores.mean_average_precision
        (0.25, 0.5, 1.0)
    """
    if not len(logits):
        raise ValueError("logits must be of at least one image, got none")
    logits = logits.detach().cpu()  # counts below are in float64, which not every device has
    states = label_states(states.cpu(), len(logits))
    check_label_logits(logits, states)
    check_finite(logits)
    known, on, predicted = ~states.isnan(), states == 1, logits > 0
    wrong = known & (predicted != on)
    either = (on | predicted) & known
    precision, f1 = _label_scores(logits, on, known)
    ranked, losses = _ranking_losses(logits, on, known & ~on)
    agreed = 2 * (on & predicted).sum(1)
    return MultiLabelScores(
        average_precision=precision,
        f1=f1,
        on=on.sum(0),
        off=(known & ~on).sum(0),
        micro_f1=share_interval(agreed, groups, over=agreed // 2 + either.sum(1)) if bool(either.any()) else None,
        hamming_loss=share_interval(wrong, groups, over=known),
        ranking_loss=share_of(losses, ranked, groups),
        exact_match=share_interval(~wrong.any(1), groups),
        images=len(logits),
        independent=independent(len(logits), groups),
    )


def _label_scores(logits: Tensor, on: Tensor, known: Tensor) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
    """Average precision and F1 of each label, over its known states."""
    from torchmetrics.functional.classification import binary_average_precision, binary_f1_score

    scores = logits.new_full((2, on.shape[1]), torch.nan, dtype=torch.float64)
    for label in range(on.shape[1]):
        rows = known[:, label]
        truth, predicted = on[rows, label].long(), (logits[rows, label] > 0).long()
        if bool(truth.any()):
            # Ranks: torchmetrics would take logits that all lie within 0 and 1 for probabilities, and make large ones
            # equal by its sigmoid.
            ranks = logits[rows, label].unique(return_inverse=True)[1].double()
            scores[0, label] = binary_average_precision(ranks / (ranks.max() + 1), truth)
        if bool((truth | predicted).any()):
            scores[1, label] = binary_f1_score(predicted, truth)
    return scores[0], scores[1]


def _ranking_losses(logits: Tensor, on: Tensor, off: Tensor) -> tuple[Tensor, PerImage]:
    """Which images have a pair of an on and an off label, and the share of these that each ranks wrongly."""
    pairs = on.sum(1) * off.sum(1)
    wrong = torch.zeros_like(pairs)
    for label in range(on.shape[1]):
        wrong += on[:, label] * (off & (logits >= logits[:, label, None])).sum(1)
    return pairs > 0, wrong.double() / pairs.clamp_min(1)


def _plain(value: float) -> float | None:
    return None if value != value else value
