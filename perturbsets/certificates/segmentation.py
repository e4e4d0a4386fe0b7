"""Randomised smoothing of segmentation: one radius for every pixel that does not abstain."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from perturbsets._types import PerImage, Samples
from perturbsets.certificates.smoothing import ABSTAIN, Smoothing, SmoothingResult
from perturbsets.certificates.votes import Prediction
from perturbsets.intervals import share_interval
from perturbsets.model_call import two_classes
from perturbsets.objectives.segmentation import share_right
from perturbsets.rows import check_choice
from perturbsets.share_bounds import chance_of_at_least

Correction = Literal["holm", "bonferroni"]


@dataclass(frozen=True, kw_only=True)
class CertifiedMaps(SmoothingResult):
    """Certificates of the pixels of images: all of an image's hold together.

    Attributes:
        radius: Offsets of this norm or less change no vote; units as for
            :class:`~perturbsets.certificates.smoothing.SmoothedRadii`.
        threshold: Share of the votes that every certified pixel's class exceeds.
        correction: How the chance of error is shared out among pixels.
    """

    radius: float
    threshold: float
    correction: Correction

    @property
    def abstained(self) -> PerImage:
        """Share of the pixels of each image that abstain."""
        return (~self.certified).flatten(1).cpu().double().mean(1)

    @property
    def accuracy(self) -> PerImage:
        """Share of the labelled pixels of each image whose true class is certified; refused without labels.

        Abstention counts as wrong.
        """
        return share_right(self.classes, self.known_labels).cpu().double()

    @property
    def sentence(self) -> str:
        return (
            f"With confidence {100 * (1 - self.alpha):.4g} % for all pixels of an image together: where a pixel does "
            f"not abstain, its vote under normal noise (sigma {self.sigma}) in the parameters of the set is the same "
            f"for all offsets of norm at most {self.radius:.4g}. The clean image must be known."
        )

    def summary(self) -> dict[str, Any]:
        figures = {
            **super().summary(),
            "radius": self.radius,
            "abstained": share_interval(self.abstained, self.groups)._asdict(),
            "threshold": self.threshold,
            "correction": self.correction,
        }
        if self.labels is not None:
            figures["accuracy"] = share_interval(self.accuracy, self.groups)._asdict()
        return figures


@dataclass(frozen=True)
class SmoothedMaps(Smoothing[CertifiedMaps]):
    r"""The vote on each pixel's class under normal noise in the offsets of a set.

    .. math:: R = \sigma\, \Phi^{-1}(\tau)

    for every pixel whose guessed class has more than the share τ of the votes. With one radius for all pixels a few
    undecided ones do not spoil the certificate: those abstain. "The share is at most τ" is tested at each pixel; the
    tests of an image are corrected so that none of them errs with confidence 1 - α.

    The model maps samples to logits ``[B, K, ...]``; further arguments are those of
    :class:`~perturbsets.certificates.smoothing.Smoothing`. The counts take twice the memory of a forward pass's logits.

    Args:
        threshold: Share τ of the votes, in [0.5, 1).
        correction: ``"holm"``, or ``"bonferroni"``, which abstains more often.

    References:
        Fischer, Baader and Vechev, *Scalable certified segmentation via randomized smoothing*, 2021, algorithm 2.
    """

    _: KW_ONLY
    threshold: float = 0.75
    correction: Correction = "holm"

    SELECTION: ClassVar[int] = 10
    DRAWS: ClassVar[int] = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.threshold < 1:
            raise ValueError(f"threshold must be a share of the votes in [0.5, 1), got {self.threshold}")
        check_choice("correction", self.correction, Correction)

    @property
    def share(self) -> float:
        return self.threshold

    def _prediction(self, outputs: Tensor) -> Prediction:
        outputs = two_classes(outputs)
        if outputs.ndim < 3:
            raise ValueError(
                f"model must return logits [B, K, ...], one class per pixel, got {list(outputs.shape)}: Smoothed takes "
                "logits of one class per image"
            )
        return outputs.argmax(1), outputs.shape[1]

    def _check_labels(self, labels: Tensor, images: Samples) -> Tensor:
        """Label maps as whole numbers; pixels of label 255 do not count."""
        if labels.ndim < 2 or len(labels) != len(images) or labels.is_floating_point():
            raise ValueError(
                f"labels must be a class number per pixel, [{len(images)}, ...], got {list(labels.shape)} of "
                f"{labels.dtype}"
            )
        return labels.long()

    def _conclude(self, guesses: Tensor, votes: dict[str, Any]) -> CertifiedMaps:
        # Votes were counted to where the smallest p-value of an image can pass alpha over its pixels, as either
        # correction needs to certify any.
        chances = chance_of_at_least(votes["agreed"], votes["draws"], self.threshold).flatten(1)
        certified = rejected(chances, votes["alpha"], self.correction).view_as(guesses)
        quantile = torch.special.ndtri(torch.tensor(self.threshold, dtype=torch.float64))
        return CertifiedMaps(
            classes=guesses.masked_fill(~certified, ABSTAIN),
            radius=float(self.scaled(quantile)),
            threshold=self.threshold,
            correction=self.correction,
            **votes,
        )


def rejected(chances: Float[Tensor, "B P"], alpha: float, correction: Correction = "holm") -> Bool[Tensor, "B P"]:
    r"""Which hypotheses of each row are rejected, so that any true one is among them with probability at most α.

    .. math:: p_{(i)} \le \frac{\alpha}{P - i + 1} \text{ for this and all smaller p-values (Holm)}, \qquad
        p_i \le \frac{\alpha}{P} \text{ (Bonferroni)}

    Holm's rejects all that Bonferroni's does, and perhaps more.

    References:
        Holm, *A simple sequentially rejective multiple test procedure*, 1979.
    """
    places = chances.shape[1]
    if correction == "bonferroni":
        return chances <= alpha / places
    ordered, rank = chances.sort(dim=1)
    left = torch.arange(places, 0, -1, device=chances.device, dtype=chances.dtype)
    passed = (ordered <= alpha / left).long().cumprod(1).bool()
    return torch.zeros_like(passed).scatter(1, rank, passed)
