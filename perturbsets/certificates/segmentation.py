"""Randomised smoothing of segmentation: one radius for every pixel that does not abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from perturbsets._types import PerImage, Samples
from perturbsets.certificates.votes import ABSTAIN, NoiseVote, Reading
from perturbsets.intervals import independent, share_interval
from perturbsets.model_call import two_classes
from perturbsets.objectives.segmentation import IGNORE, share_right
from perturbsets.share_bounds import chance_of_at_least, check_chance

Maps = Int64[Tensor, "B *place"]
Correction = Literal["holm", "bonferroni"]


@dataclass(frozen=True)
class CertifiedMaps:
    """Certificates of the pixels of images: all of an image's hold together.

    Attributes:
        classes: Vote of each pixel, or :data:`ABSTAIN`, ``[B, *place]``.
        radius: Offsets of this norm or less change no vote; units as for :class:`perturbsets.certificates.Certified`.
        agreed: Votes for each pixel's guessed class.
        taken: Votes asked for, ``[B]``.
        seeds: Seeds of the images' noise.
        draws: Votes that an image could have.
        threshold: Share of the votes that every certified pixel's class has more than.
        alpha: Chance that any certificate of an image is wrong.
        correction: How the chance is shared out among pixels.
        sigma: Standard deviation of the noise.
        labels: True label maps, where they were given.
        groups: Number of each image's independent unit, where they were given; else each image is its own.
    """

    classes: Maps
    radius: float
    agreed: Maps
    taken: Int64[Tensor, " B"]
    seeds: Int64[Tensor, " B"]
    draws: int
    threshold: float
    alpha: float
    correction: Correction
    sigma: float | Sequence[float]
    labels: Maps | None = None
    groups: Int64[Tensor, " B"] | None = None

    @property
    def abstained(self) -> PerImage:
        """Share of the pixels of each image that abstain."""
        return (self.classes == ABSTAIN).flatten(1).cpu().double().mean(1)

    @property
    def accuracy(self) -> PerImage:
        """Share of the labelled pixels of each image whose true class is certified: abstention counts as wrong.

        Raises:
            ValueError: If no labels were given.
        """
        if self.labels is None:
            raise ValueError("labels must be given to `certify` to tell what is correct")
        return share_right(self.classes, self.labels).cpu().double()

    @property
    def sentence(self) -> str:
        """What is certified."""
        return (
            f"With confidence {100 * (1 - self.alpha):.4g} % for all pixels of an image together: where a pixel does "
            f"not abstain, its vote under normal noise (sigma {self.sigma}) in the parameters of the set is the same "
            f"for all offsets of norm at most {self.radius:.4g}. The clean image must be known."
        )

    def summary(self) -> dict[str, Any]:
        """The certificates as plain values."""
        figures: dict[str, Any] = {
            "images": len(self.classes),
            "independent": independent(len(self.classes), self.groups),
            "radius": self.radius,
            "abstained": share_interval(self.abstained, self.groups)._asdict(),
            "draws": self.draws,
            "threshold": self.threshold,
            "alpha": self.alpha,
            "correction": self.correction,
            "sigma": list(self.sigma) if isinstance(self.sigma, Sequence) else self.sigma,
            "sentence": self.sentence,
        }
        if self.labels is not None:
            figures["accuracy"] = share_interval(self.accuracy, self.groups)._asdict()
        return figures


@dataclass(frozen=True)
class SmoothedMaps(NoiseVote):
    r"""The vote on each pixel's class under normal noise in the parameters of a set.

    .. math:: R = \sigma\, \Phi^{-1}(\tau)

    for every pixel whose guessed class has more than the share τ of the votes. One radius for all pixels is what keeps
    a few undecided ones from spoiling the certificate: those abstain, and stay abstentions. "The share is at most τ" is
    tested at each pixel; the tests of an image are corrected so that none of them errs with confidence 1 - α.

    Args:
        model: Samples to logits ``[B, K, ...]``, one for each class and pixel.
        perturbations: As for :class:`perturbsets.Smoothed`.
        sigma: As for :class:`perturbsets.Smoothed`.
        batch: As for :class:`perturbsets.Smoothed`; the counts take twice the memory of the logits of a pass.

    Raises:
        ValueError: If ``sigma`` is not positive and finite, or ``batch`` below 1.

    References:
        Fischer, Baader and Vechev, *Scalable certified segmentation via randomized smoothing*, 2021, algorithm 2.
    """

    def read(self, outputs: Tensor) -> Reading:
        outputs = two_classes(outputs)
        if outputs.ndim < 3:
            raise ValueError(
                f"model must return logits [B, K, ...], one class per pixel, got {list(outputs.shape)}: Smoothed takes "
                "logits of one class per image"
            )
        return outputs.argmax(1), outputs.shape[1]

    def certify(
        self,
        images: Samples,
        selection: int = 10,
        draws: int = 100,
        alpha: float = 0.001,
        *,
        threshold: float = 0.75,
        correction: Correction = "holm",
        labels: Tensor | None = None,
        groups: Tensor | None = None,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> CertifiedMaps:
        """Certifies the vote on each pixel, or abstains there.

        Args:
            images: Clean samples.
            selection: Draws from which classes are guessed.
            draws: Draws from which they are tested.
            alpha: Chance that any certificate of an image is wrong, in (0, 1).
            threshold: Share τ of the votes, in [0.5, 1).
            correction: ``"holm"``, or ``"bonferroni"``, which abstains more often.
            labels: True label maps ``[B, ...]``; pixels of label 255 do not count.
            groups: As for :class:`perturbsets.Smoothed`.
            seeds: As for :class:`perturbsets.Smoothed`.
            generator: As for :class:`perturbsets.Smoothed`.

        Raises:
            ValueError: As :meth:`perturbsets.Smoothed.certify`, or if threshold or correction are out of range.
        """
        check_chance("alpha", alpha)
        if not 0.5 <= threshold < 1:
            raise ValueError(f"threshold must be a share of the votes in [0.5, 1), got {threshold}")
        if correction not in get_args(Correction):
            raise ValueError(f"correction must be one of {list(get_args(Correction))}, got {correction!r}")
        if labels is not None and (labels.ndim < 2 or len(labels) != len(images) or labels.is_floating_point()):
            raise ValueError(
                f"labels must be a class number per pixel, [{len(images)}, ...], got {list(labels.shape)} of "
                f"{labels.dtype}"
            )
        # The smallest chance of an image must pass alpha over its pixels for either correction to certify any.
        independent(len(images), groups)
        votes = self.votes(
            images, selection, draws, threshold, lambda pixels: alpha / pixels, seeds=seeds, generator=generator
        )
        if labels is not None and labels.shape != votes.guesses.shape:
            raise ValueError(
                f"labels must be one class for each pixel of the outputs, {list(votes.guesses.shape)}, got "
                f"{list(labels.shape)}; {IGNORE} is for pixels that do not count"
            )
        chances = chance_of_at_least(votes.agreed, draws, threshold).flatten(1)
        certified = rejected(chances, alpha, correction).view_as(votes.guesses)
        quantile = torch.special.ndtri(torch.tensor(threshold, dtype=torch.float64))
        return CertifiedMaps(
            votes.guesses.masked_fill(~certified, ABSTAIN),
            float(self.scaled(quantile)),
            votes.agreed,
            votes.taken,
            votes.seeds,
            draws,
            threshold,
            alpha,
            correction,
            self.sigma,
            None if labels is None else labels.to(votes.guesses.device).long(),
            groups,
        )


def rejected(chances: Float[Tensor, "B P"], alpha: float, correction: Correction = "holm") -> Bool[Tensor, "B P"]:
    r"""Which hypotheses of each row are rejected, so that any true one is among them with probability at most α.

    .. math:: p_{(i)} \le \frac{\alpha}{P - i + 1} \text{ for this and all smaller p-values (Holm)}, \qquad
        p_i \le \frac{\alpha}{P} \text{ (Bonferroni)}

    Args:
        chances: p-values.
        alpha: Chance of error of each row.
        correction: Which of the two; Holm's rejects all that Bonferroni's does, and perhaps more.

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
