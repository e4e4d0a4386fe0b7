"""Rejection: accuracy and attack success where images that violate the rules are rejected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from perturbsets._types import Flags, PerImage
from perturbsets.intervals import Interval, share_interval, share_of
from perturbsets.printing import Result
from perturbsets.rows import named_rows


def rejection_threshold(natural: Float[Tensor, " N"], *, share: float = 0.05) -> float:
    r"""The least threshold that rejects at most a share of natural images.

    .. math:: \tau = \min \Big\{ t : \tfrac1N \big|\{ i : s_i > t \}\big| \le \alpha \Big\}

    Args:
        natural: Scores of natural images, such as :meth:`~perturbsets.knowledge.BoundRules.violation`; of others than
            those on which rejection is then evaluated.
        share: Largest share :math:`\alpha` that may be rejected, in [0, 1).

    Returns:
        The threshold: one of the scores. Images above it are rejected, those at it are not.

    Raises:
        ValueError: If there are no scores, or one is not finite, or the share is outside its range.

    Example:
        >>> import torch
        >>> rejection_threshold(torch.tensor([0.0, 0.1, 0.2, 0.9]), share=0.25)
        0.20000000298023224
    """
    _check_scores("natural", natural)
    if not len(natural):
        raise ValueError("natural must hold one score at least, got none")
    if not 0 <= share < 1:
        raise ValueError(f"share must be 0 or more and below 1, got {share}: 5 % are 0.05")
    count = len(natural)
    allowed = max(number for number in range(count) if number / count <= share)
    return float(natural.sort().values[count - 1 - allowed])


@dataclass(frozen=True)
class Rejection(Result):
    """Shares of images accepted, right and wrong where high scores are rejected, with exact intervals at 95 %.

    Attributes:
        threshold: Images with a score above it are rejected.
        accepted: Share of all images that are accepted.
        right: Share of all images that are classified correctly and accepted: accuracy where a rejection is an error.
        wrong: Share of all images that are misclassified and accepted: of attacked ones, those that fool classifier
            and detector.
        right_of_accepted: Share of the accepted images that are right; ``None`` where all are rejected.
    """

    threshold: float
    accepted: Interval
    right: Interval
    wrong: Interval
    right_of_accepted: Interval | None

    def summary(self) -> dict[str, Any]:
        """The figures as plain values."""
        shares = {name: each and each._asdict() for name, each in vars(self).items() if name != "threshold"}
        return {"threshold": self.threshold, **shares}


def evaluate_rejection(scores: PerImage, right: Flags, threshold: float, groups: Tensor | None = None) -> Rejection:
    """Evaluates a classifier that rejects images of a high score.

    Args:
        scores: Score of each image, higher is more suspicious.
        right: Whether each image is classified correctly. For attacked images give those that were so before the
            attack: ``wrong`` is then the share of them that the attack fooled without being rejected.
        threshold: Images above it are rejected; :func:`rejection_threshold` gives one.
        groups: Number of each image's independent unit; by default every image is its own.

    Raises:
        ValueError: If there is no image, scores are not finite, or there is not one flag for each.

    Example:
        >>> import torch
        >>> rejection = evaluate_rejection(torch.tensor([0.1, 0.9, 0.2]), torch.tensor([True, True, False]), 0.5)
        >>> round(rejection.right.mean, 3), round(rejection.wrong.mean, 3), rejection.right_of_accepted.mean
        (0.333, 0.333, 0.5)
    """
    _check_scores("scores", scores)
    if not len(scores) or len(right) != len(scores):
        raise ValueError(f"right must be one flag for each score, 1 or more, got {len(right)} for {len(scores)}")
    accepted, right = scores <= threshold, right.to(scores.device)
    return Rejection(
        threshold=threshold,
        accepted=share_interval(accepted, groups),
        right=share_interval(right & accepted, groups),
        wrong=share_interval(~right & accepted, groups),
        right_of_accepted=share_of(right, accepted, groups),
    )


def _check_scores(name: str, scores: Tensor) -> None:
    if not bool((finite := scores.isfinite()).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity in {named_rows(~finite)}")
