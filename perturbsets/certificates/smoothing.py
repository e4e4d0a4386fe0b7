r"""Randomised smoothing in the offsets of a set: a radius within which the majority vote cannot change.

What is certified is the smoothed model

.. math:: \hat f(x, u) = \arg\max_c P\big(f(g(x, u + \eta)) = c\big), \qquad \eta \sim N(0, \sigma^2 I)

with x *known*: its vote is the same for all :math:`\|u\| \le R(x)`. To vote, one decodes from x itself; a changed image
whose clean original is unknown is not classified. The theorem asks nothing of the decoder g, nor of f:
:math:`h(u) = f(g(x, u))` may be any measurable function, so clipping to the pixel bounds is a part of h.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from augment.double_precision import double_device
from augment.functional.counter import draw_seeds
from perturbsets._types import Labels, Model, Offsets, Samples
from perturbsets.certificates.votes import Prediction, VoteCounter, agreements_needed
from perturbsets.intervals import independent, share_interval
from perturbsets.model_call import check_call, given_or_fresh, ordinary, preserve_state, unwrapped
from perturbsets.printing import Printed, Result
from perturbsets.rows import batches
from perturbsets.sets.base import PerturbationSet
from perturbsets.sets.standardized import Standardized
from perturbsets.share_bounds import check_chance, share_at_least

ABSTAIN = -1
"""In place of a class where nothing is certified."""


@dataclass(frozen=True, kw_only=True)
class SmoothingResult(Result, ABC):
    """Certificates of images; a place is an image, a label of it, or a pixel of it.

    Tensors lie on the images' device, or on the CPU if that has no float64.

    Attributes:
        classes: The certified vote at each place, or :data:`ABSTAIN`, ``[B, *place]``.
        agreed: Counted votes for the guessed class, ``[B, *place]``.
        taken: Counted votes of each image; fewer than ``draws`` where a certificate was out of reach.
        seeds: Seeds of the images' noise: with them an image can be certified again alone.
        draws: Largest number of votes of an image.
        alpha: Chance of error of each image's certificates.
        sigma: Standard deviation of the noise, one for each part of a composed set.
        labels: True classes ``[B, *place]``, if given.
        groups: Number of each image's independent unit, if given; else each image is its own.
    """

    classes: Tensor
    agreed: Tensor
    taken: Labels
    seeds: Labels
    draws: int
    alpha: float
    sigma: float | Sequence[float]
    labels: Tensor | None = None
    groups: Labels | None = None

    @property
    def certified(self) -> Tensor:
        """Where there is a certificate, ``[B, *place]``."""
        return self.classes != ABSTAIN

    @property
    def known_labels(self) -> Tensor:
        """The true classes; refused if no labels were given."""
        if self.labels is None:
            raise ValueError("labels must be given to `certify` to count what is correct")
        return self.labels

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What is certified."""

    def summary(self) -> dict[str, Any]:
        """The certificates as plain values."""
        return {
            "images": len(self.classes),
            "independent": independent(len(self.classes), self.groups),
            "draws": self.draws,
            "taken": float(self.taken.cpu().double().mean()),
            "alpha": self.alpha,
            "sigma": list(self.sigma) if isinstance(self.sigma, Sequence) else self.sigma,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, kw_only=True)
class SmoothedRadii(SmoothingResult):
    """Certificates with a radius for each place.

    Attributes:
        radii: Offsets of this norm or less do not change the vote: in the set's own unit; of a composed set in standard
            deviations of the noise, for the root of the sum of squares over its parts. 0 where it abstains.
        shares: Lower bound of the share of the votes for the guessed class.
    """

    radii: Tensor
    shares: Tensor

    def correct(self, radius: float = 0.0) -> Tensor:
        """Where the true class is certified for that radius at least; refused without labels."""
        return (self.classes == self.known_labels) & (self.radii >= radius)

    @abstractmethod
    def curve(self, radii: Iterable[float]) -> list[dict[str, Any]]:
        """Certified accuracy at each radius."""

    def summary(self) -> dict[str, Any]:
        largest = float(self.radii.max())
        figures = {
            **super().summary(),
            "certified": share_interval(self.certified, self.groups)._asdict(),
            "median_radius": float(self.radii.median()),
            "max_radius": largest,
        }
        if self.labels is not None:
            figures["curve"] = self.curve(dict.fromkeys(torch.linspace(0, largest, 21, dtype=torch.float64).tolist()))
        return figures


Certificates = TypeVar("Certificates", bound=SmoothingResult)


@dataclass(frozen=True)
class Smoothing(Printed, ABC, Generic[Certificates]):
    """A model's vote under normal noise in the offsets of a set; subclasses say what is voted on.

    Args:
        model: Samples to outputs.
        perturbations: A set with an L2 ball (pixels, latents), or a composition of such sets. Its radius plays no part:
            the noise goes beyond it.
        sigma: Standard deviation of the noise, in the set's own unit; of a composed set one for each part.
        batch: Draws in one forward pass, and images bound at a time (``tests/benchmarks/smoothing.py`` finds the
            fastest). It changes no vote.

    Raises:
        ValueError: If ``sigma`` is not positive and finite, or ``batch`` below 1.
    """

    model: Model
    perturbations: PerturbationSet
    sigma: float | Sequence[float]
    _: KW_ONLY
    batch: int = 256

    SELECTION: ClassVar[int] = 100
    DRAWS: ClassVar[int] = 10_000

    def __post_init__(self) -> None:
        _ = self.standardized
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1 draw in a pass, got {self.batch}")

    @property
    def standardized(self) -> Standardized:
        """The set in units of the noise."""
        return Standardized(self.perturbations, sigma=self.sigma)

    @property
    def share(self) -> float:
        """The share of the votes that a certified class exceeds."""
        return 0.5

    @abstractmethod
    def _prediction(self, outputs: Tensor) -> Prediction:
        """The class at each place ``[B, *place]``, and the number of classes; refuses outputs of another shape."""

    @abstractmethod
    def _check_labels(self, labels: Tensor, images: Samples) -> Tensor:
        """Labels as whole numbers; refuses those of other images or of the wrong kind."""

    @abstractmethod
    def _conclude(self, guesses: Tensor, votes: dict[str, Any]) -> Certificates:
        """The certificates that follow from guesses and from what :class:`SmoothingResult` holds but for classes."""

    def _level(self, alpha: float, places: int) -> float:
        """The chance of error of each place, so that all places of an image hold together."""
        return alpha / places

    def certify(
        self,
        images: Samples,
        labels: Tensor | None = None,
        *,
        selection: int | None = None,
        draws: int | None = None,
        alpha: float = 0.001,
        groups: Tensor | None = None,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Certificates:
        """Certifies the vote at each place of each image, or abstains there.

        Args:
            images: Clean samples.
            labels: True classes ``[B, *place]``, for accuracies.
            selection: Draws from which the class is guessed; by default 100 (maps: 10).
            draws: Further draws from which its share is bounded: n of them certify at most σΦ⁻¹(α^(1/n)). By default
                10,000 (maps: 100).
            alpha: Chance of error of each image, in (0, 1).
            groups: Number of each image's independent unit, such as its photograph or person, over which intervals of
                accuracies are; by default each image is its own.
            seeds: Seeds of the images' noise, as a result holds them; drawn if not given.
            generator: For the seeds; a fresh one, seeded by the system, if not given.

        Raises:
            ValueError: If an argument is out of range or of another shape, the draws cannot certify anything, or
                decoded images or outputs under noise are not finite.
        """
        check_call(self.model, images)
        selection = self.SELECTION if selection is None else selection
        draws = self.DRAWS if draws is None else draws
        check_chance("alpha", alpha)
        if selection < 1:
            raise ValueError(f"selection must be at least 1 draw, got {selection}")
        independent(len(images), groups)
        if labels is not None:
            labels = self._check_labels(labels, images)
        parts = []
        with preserve_state(self.model, images), torch.no_grad():
            for counter in self._counters(images, seeds, generator):
                guesses = counter.counts("selection", selection).argmax(-1)
                needed = agreements_needed(draws, self.share, self._level(alpha, guesses[0].numel()))
                agreed, taken = counter.agreements("certification", guesses, draws, needed)
                parts.append((guesses, agreed, taken, counter.seeds))
        device = double_device(images.device)  # on which shares are bounded
        guesses, agreed, taken, seeds = (torch.cat(part).to(device) for part in zip(*parts, strict=True))
        if labels is not None:
            if labels.shape != guesses.shape:
                raise ValueError(
                    f"labels must be one class for each output, {list(guesses.shape)}, got {list(labels.shape)}"
                )
            labels = labels.to(device)
        votes = {"agreed": agreed, "taken": taken, "seeds": seeds, "draws": draws, "alpha": alpha, "sigma": self.sigma}
        return self._conclude(guesses, {**votes, "labels": labels, "groups": groups})

    def count_votes(
        self,
        images: Samples,
        draws: int,
        stream: str,
        *,
        seeds: Tensor | None = None,
        centre: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Votes for each class at each place, ``[B, *place, K]``, of draws around offsets (0 if not given)."""
        with preserve_state(self.model, images), torch.no_grad():
            counters = self._counters(images, seeds, generator, centre)
            return torch.cat([counter.counts(stream, draws) for counter in counters])

    def scaled(self, radii: Tensor) -> Tensor:
        """From standard deviations to the set's own unit; of a composed set they stay what they are."""
        return radii if isinstance(self.sigma, Sequence) else self.sigma * radii

    def _bounds(self, guesses: Tensor, votes: dict[str, Any]) -> dict[str, Any]:
        """Classes, radii and bounds of shares, by the Clopper-Pearson bound at each place."""
        agreed = votes["agreed"]
        shares = share_at_least(agreed, votes["draws"], self._level(votes["alpha"], agreed[0].numel()))
        certified = shares > 0.5
        radii = self.scaled(torch.special.ndtri(shares)).where(certified, torch.zeros_like(shares))
        return {"classes": guesses.masked_fill(~certified, ABSTAIN), "radii": radii, "shares": shares}

    def _counters(
        self, images: Samples, seeds: Tensor | None, generator: torch.Generator | None, centre: Offsets | None = None
    ) -> Iterator[VoteCounter]:
        """Counters of one part of the images after another."""
        if not len(images):
            raise ValueError("images must hold at least one image, got none")
        if seeds is None:
            seeds = draw_seeds(len(images), generator=given_or_fresh(generator))
        if seeds.shape != images.shape[:1] or seeds.dtype != torch.int64:
            raise ValueError(f"seeds must be whole numbers [{len(images)}], got {list(seeds.shape)} of {seeds.dtype}")
        images, seeds, model = ordinary(images).detach(), seeds.to(images.device), unwrapped(self.model)
        for rows in batches(images, self.batch):
            region = self.standardized.select(rows).at(images[rows])
            around = None if centre is None else centre[rows]
            yield VoteCounter(model, region, seeds[rows], self._prediction, batch=self.batch, centre=around)
