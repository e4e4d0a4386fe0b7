"""Randomised smoothing of models that switch labels on and off: a radius for each label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from perturbsets._types import Samples
from perturbsets.certificates.votes import ABSTAIN, NoiseVote, Reading
from perturbsets.intervals import independent, share_interval
from perturbsets.label_states import label_states
from perturbsets.rows import named_rows
from perturbsets.share_bounds import check_chance, share_at_least

Correction = Literal["bonferroni", "none"]


@dataclass(frozen=True)
class CertifiedLabels:
    """Certificates of every label of every image.

    Attributes:
        states: 1 for on, 0 for off, or :data:`ABSTAIN`, ``[B, L]``.
        radii: Offsets of this norm or less do not change the label's vote, ``[B, L]``; units as for
            :class:`perturbsets.certificates.Certified`.
        shares: Lower bound of the share of the votes for the guessed state.
        agreed: Votes for it.
        taken: Votes asked for, ``[B]``.
        seeds: Seeds of the images' noise.
        draws: Votes that an image could have.
        alpha: Chance of error: of all of an image's certificates together with ``"bonferroni"``, of each with
            ``"none"``.
        correction: Which of the two.
        sigma: Standard deviation of the noise.
        labels: True states, where they were given.
        groups: Number of each image's independent unit, where they were given; else each image is its own.
    """

    states: Int64[Tensor, "B L"]
    radii: Float[Tensor, "B L"]
    shares: Float[Tensor, "B L"]
    agreed: Int64[Tensor, "B L"]
    taken: Int64[Tensor, " B"]
    seeds: Int64[Tensor, " B"]
    draws: int
    alpha: float
    correction: Correction
    sigma: float | Sequence[float]
    labels: Int64[Tensor, "B L"] | None = None
    groups: Int64[Tensor, " B"] | None = None

    def correct(self, radius: float = 0.0) -> Bool[Tensor, "B L"]:
        """Which labels have a certificate of their true state for that radius at least.

        Raises:
            ValueError: If no labels were given.
        """
        if self.labels is None:
            raise ValueError("labels must be given to `certify` to tell what is correct")
        return (self.states == self.labels) & (self.radii >= radius)

    def curve(self, radii: Iterable[float]) -> list[dict[str, Any]]:
        """Share of the labels, and of the images with all labels, that are certified rightly at each radius.

        The labels of an image are not independent: both intervals are over images, or their groups.

        Raises:
            ValueError: If no labels were given.
        """
        points = []
        for radius in radii:
            correct = self.correct(radius)
            every = share_interval(correct.all(1), self.groups)
            share = share_interval(correct, self.groups)
            points.append({"radius": float(radius), "labels": share._asdict(), "images": every._asdict()})
        return points

    @property
    def sentence(self) -> str:
        """What is certified."""
        whose = "all labels of an image together" if self.correction == "bonferroni" else "each label alone"
        return (
            f"With confidence {100 * (1 - self.alpha):.4g} % for {whose}: the vote on a label under normal noise "
            f"(sigma {self.sigma}) in the parameters of the set is the same for all offsets within the label's radius. "
            "The clean image must be known."
        )

    def summary(self) -> dict[str, Any]:
        """The certificates as plain values."""
        figures: dict[str, Any] = {
            "images": len(self.states),
            "independent": independent(len(self.states), self.groups),
            "labels": self.states.shape[1],
            "certified": share_interval(self.states != ABSTAIN, self.groups)._asdict(),
            "draws": self.draws,
            "alpha": self.alpha,
            "correction": self.correction,
            "sigma": list(self.sigma) if isinstance(self.sigma, Sequence) else self.sigma,
            "median_radius": float(self.radii.median()),
            "sentence": self.sentence,
        }
        if self.labels is not None:
            steps = torch.linspace(0, float(self.radii.max()), 21, dtype=torch.float64).tolist()
            figures["curve"] = self.curve(dict.fromkeys(steps))
        return figures


@dataclass(frozen=True)
class SmoothedLabels(NoiseVote):
    r"""The vote on each label under normal noise in the parameters of a set.

    .. math:: R_l(x) = \sigma\, \Phi^{-1}(\underline{p}_l)

    with :math:`\underline p_l` the Clopper-Pearson bound for the guessed state of label l. A label is on where its
    logit is above 0. With ``"bonferroni"`` each of an image's L labels has the level α/L, so that all its certificates
    hold together with confidence 1 - α; who speaks of an image's set of labels needs that.

    Args:
        model: Samples to logits ``[B, L]``, one for each label.
        perturbations: As for :class:`perturbsets.Smoothed`.
        sigma: As for :class:`perturbsets.Smoothed`.
        batch: As for :class:`perturbsets.Smoothed`.

    Raises:
        ValueError: If ``sigma`` is not positive and finite, or ``batch`` below 1.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019; of each label
        apart it is a vote between two classes.
    """

    def read(self, outputs: Tensor) -> Reading:
        if outputs.ndim != 2 or not outputs.shape[1]:
            raise ValueError(f"model must return logits [B, L], one for each label, got {list(outputs.shape)}")
        return (outputs > 0).long(), 2

    def certify(
        self,
        images: Samples,
        selection: int = 100,
        draws: int = 10_000,
        alpha: float = 0.001,
        *,
        correction: Correction = "bonferroni",
        labels: Tensor | None = None,
        groups: Tensor | None = None,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> CertifiedLabels:
        """Certifies the vote on each label of each image.

        Args:
            images: Clean samples.
            selection: Draws from which states are guessed.
            draws: Draws from which their shares are bounded.
            alpha: Chance of error, in (0, 1).
            correction: Whether it is that of all labels of an image together, or of each.
            labels: True states ``[B, L]``, 0 and 1 or flags, none unknown.
            groups: As for :class:`perturbsets.Smoothed`.
            seeds: As for :class:`perturbsets.Smoothed`.
            generator: As for :class:`perturbsets.Smoothed`.

        Raises:
            ValueError: As :meth:`perturbsets.Smoothed.certify`, or if the correction is unknown.
        """
        check_chance("alpha", alpha)
        if correction not in get_args(Correction):
            raise ValueError(f"correction must be one of {list(get_args(Correction))}, got {correction!r}")
        if labels is not None:
            labels = _known(labels, images)

        def level(places: int) -> float:
            return alpha / places if correction == "bonferroni" else alpha

        independent(len(images), groups)
        votes = self.votes(images, selection, draws, 0.5, level, seeds=seeds, generator=generator)
        if labels is not None and labels.shape != votes.guesses.shape:
            raise ValueError(
                f"labels must be one state for each output of the model, {list(votes.guesses.shape)}, got "
                f"{list(labels.shape)}"
            )
        labels = None if labels is None else labels.to(votes.guesses.device)
        shares = share_at_least(votes.agreed, draws, level(votes.agreed.shape[1]))
        certified = shares > 0.5
        radii = self.scaled(torch.special.ndtri(shares)).where(certified, torch.zeros_like(shares))
        return CertifiedLabels(
            votes.guesses.masked_fill(~certified, ABSTAIN),
            radii,
            shares,
            votes.agreed,
            votes.taken,
            votes.seeds,
            draws,
            alpha,
            correction,
            self.sigma,
            labels,
            groups,
        )


def _known(labels: Tensor, images: Samples) -> Int64[Tensor, "B L"]:
    """Checked states, none unknown: what is correct could not be told of it."""
    states = label_states(labels, len(images), each_known=False)
    unknown = states.isnan().any(1)
    if bool(unknown.any()):
        raise ValueError(
            f"labels must be 0 or 1 to tell what is certified rightly, none unknown, got NaN in {named_rows(unknown)}: "
            "leave these out"
        )
    return states.long()
