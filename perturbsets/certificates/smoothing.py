r"""Randomised smoothing in the parameters of a set: a radius within which a vote cannot change.

What is certified is the vote of the smoothed model

.. math:: \hat f(x, u) = \arg\max_c P\big(f(g(x, u + \eta)) = c\big), \qquad \eta \sim N(0, \sigma^2 I)

with x *known*: it is the same for all :math:`\|u\| \le R(x)`. It says what the vote would be if the world moved the
parameters of x by u. It is no classifier of a changed image whose clean original is unknown: to vote, one decodes
from x itself.

The theorem asks nothing of g, nor of f: :math:`h(u) = f(g(x, u))` may be any measurable function of the offsets. A
decoder that saturates, or a pixel ball that cuts at the bounds of the values, is a part of h.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from perturbsets._types import Flags, Labels, PerImage, Samples
from perturbsets.certificates.votes import ABSTAIN, NoiseVote, Reading, fewest
from perturbsets.intervals import independent, share_interval
from perturbsets.model_call import two_classes
from perturbsets.objectives.classification import class_numbers
from perturbsets.share_bounds import chance_of_at_least, check_chance, share_at_least


@dataclass(frozen=True)
class Certified:
    """Certificates of images, each with a confidence of its own.

    They lie on the images' device, or on the CPU if that has no float64.

    Attributes:
        classes: The vote of each image, or :data:`ABSTAIN`.
        radii: Offsets of this norm or less do not change the vote: in the set's own unit; of a composed set in standard
            deviations of the noise, for the root of the sum of squares over its parts. 0 where it abstains.
        shares: Lower bound of the share of the votes for the guessed class.
        agreed: Votes for it.
        taken: Votes asked for; fewer than ``draws`` where nothing was to be hoped for.
        seeds: Seeds of the images' noise: with them an image can be certified again alone.
        draws: Votes that an image could have.
        alpha: Chance of error of each image's certificate.
        sigma: Standard deviation of the noise, one for each part of a composed set.
        labels: True classes, where they were given.
        groups: Number of each image's independent unit, where they were given; else each image is its own.
    """

    classes: Labels
    radii: PerImage
    shares: PerImage
    agreed: Labels
    taken: Labels
    seeds: Labels
    draws: int
    alpha: float
    sigma: float | Sequence[float]
    labels: Labels | None = None
    groups: Labels | None = None

    @property
    def certified(self) -> Flags:
        """Which images have a certificate."""
        return self.classes != ABSTAIN

    def correct(self, radius: float = 0.0) -> Flags:
        """Which images have a certificate of their true class for that radius at least.

        Raises:
            ValueError: If no labels were given.
        """
        if self.labels is None:
            raise ValueError("labels must be given to `certify` to tell what is correct")
        return (self.classes == self.labels) & (self.radii >= radius)

    def curve(self, radii: Iterable[float]) -> list[dict[str, float | None]]:
        """Certified accuracy at each radius, with its interval at 95 % over independent units.

        Raises:
            ValueError: If no labels were given.
        """
        return [
            {"radius": float(radius), **share_interval(self.correct(radius), self.groups)._asdict()} for radius in radii
        ]

    @property
    def sentence(self) -> str:
        """What is certified."""
        norm = "norm at most R(x)" if not isinstance(self.sigma, Sequence) else "sum of (norm / sigma)^2 at most R(x)^2"
        return (
            f"With confidence {100 * (1 - self.alpha):.4g} % for each image: the vote of the model under normal noise "
            f"(sigma {self.sigma}) in the parameters of the set is the same for all offsets of {norm}. The clean image "
            "x must be known: this classifies no changed image whose original is unknown."
        )

    def summary(self) -> dict[str, Any]:
        """The certificates as plain values."""
        count = len(self.classes)
        figures: dict[str, Any] = {
            "images": count,
            "independent": independent(count, self.groups),
            "certified": share_interval(self.certified, self.groups)._asdict(),
            "draws": self.draws,
            "taken": float(self.taken.cpu().double().mean()),
            "alpha": self.alpha,
            "sigma": list(self.sigma) if isinstance(self.sigma, Sequence) else self.sigma,
            "median_radius": float(self.radii.median()),
            "max_radius": float(self.radii.max()),
            "sentence": self.sentence,
        }
        if self.labels is not None:
            steps = torch.linspace(0, float(self.radii.max()), 21, dtype=torch.float64).tolist()
            figures["curve"] = self.curve(dict.fromkeys(steps))
        return figures


@dataclass(frozen=True)
class Smoothed(NoiseVote):
    r"""A classifier's vote under normal noise in the parameters of a set, and the radius within which it stands.

    .. math:: R(x) = \sigma\, \Phi^{-1}(\underline{p}), \qquad \underline p \le P\big(f(g(x, \eta)) = c\big)

    where the class c is guessed from some draws, and its share is bounded by others, after Clopper and Pearson. The
    bound is *exceeded* with confidence 1 - α, so that the ball may be closed. Where it is ½ or less, there is no
    certificate.

    Of composed sets with noise in every part: let :math:`w = (u_1/\sigma_1, u_2/\sigma_2, \dots)`. Then the noise is
    standard normal in w, and the theorem for :math:`h(w) = f(g_2(g_1(x, \sigma_1 w_1), \sigma_2 w_2))` and
    :math:`\sigma = 1` certifies :math:`\sum_i (\|u_i\| / \sigma_i)^2 \le \Phi^{-1}(\underline p)^2`. Every part needs
    an L2 ball.

    Args:
        model: Samples to logits.
        perturbations: A set with an L2 ball (pixels, latents), or a composition of such sets. Its radius plays no part:
            the noise goes beyond it.
        sigma: Standard deviation of the noise, in the set's own unit; of a composed set one for each part.
        batch: Draws in one pass, and images bound at a time; ``tests/benchmarks/smoothing.py`` finds the fastest. It
            changes no vote.

    Raises:
        ValueError: If ``sigma`` is not positive and finite, or ``batch`` below 1.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019, theorem 1 and
        sec. 3.2.

    Example:
        >>> from torch import nn
        >>> from perturbsets import PixelBall
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> smoothed = Smoothed(model, PixelBall("l2", 1.0), sigma=0.25)
        >>> result = smoothed.certify(torch.rand(5, 1, 2, 2), selection=50, draws=500, alpha=0.001)
        >>> bool((result.radii[result.certified] > 0).all())
        True
    """

    def read(self, outputs: Tensor) -> Reading:
        outputs = two_classes(outputs)
        if outputs.ndim != 2:
            raise ValueError(
                f"model must return logits [B, K], one class per image, got {list(outputs.shape)}: SmoothedLabels and "
                "SmoothedMaps take other outputs"
            )
        return outputs.argmax(1), outputs.shape[1]

    def certify(
        self,
        images: Samples,
        selection: int = 100,
        draws: int = 10_000,
        alpha: float = 0.001,
        *,
        labels: Tensor | None = None,
        groups: Tensor | None = None,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Certified:
        """Certifies the vote of each image.

        Args:
            images: Clean samples.
            selection: Draws from which the class is guessed.
            draws: Draws from which its share is bounded: n of them certify at most σΦ⁻¹(α^(1/n)).
            alpha: Chance of error of each image's certificate, in (0, 1).
            labels: True classes, for accuracies.
            groups: Number of each image's independent unit, such as its photograph or person, over which intervals of
                accuracies are; by default each image is its own.
            seeds: Seeds of the images' noise, as a result holds them; drawn if not given.
            generator: For the seeds; a fresh one, seeded by the system, if not given.

        Returns:
            A class and a radius, or an abstention, for each image.

        Raises:
            ValueError: If samples, labels or numbers are not as they must be, the draws cannot certify anything, or
                the noise meets values that are not finite.
        """
        if labels is not None:
            labels = class_numbers(labels, images)
        independent(len(images), groups)
        votes = self.votes(images, selection, draws, 0.5, lambda _: alpha, seeds=seeds, generator=generator)
        shares = share_at_least(votes.agreed, draws, alpha)
        certified = shares > 0.5
        radii = self.scaled(torch.special.ndtri(shares)).where(certified, torch.zeros_like(shares))
        classes = votes.guesses.masked_fill(~certified, ABSTAIN)
        labels = None if labels is None else labels.to(classes.device)
        return Certified(
            classes, radii, shares, votes.agreed, votes.taken, votes.seeds, draws, alpha, self.sigma, labels, groups
        )

    def predict(
        self,
        images: Samples,
        draws: int = 1000,
        alpha: float = 0.001,
        *,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Labels:
        """The vote of each image, or :data:`ABSTAIN` where it is too close to call.

        Args:
            images: Clean samples.
            draws: Votes of each image.
            alpha: Chance of error of each image, in (0, 1).
            seeds: As for :meth:`certify`.
            generator: As for :meth:`certify`.

        Returns:
            Classes; each is a wrong one with probability at most α.

        Raises:
            ValueError: As :meth:`certify`.
        """
        check_chance("alpha", alpha)
        fewest(draws, 0.5, alpha / 2)  # a test of two sides: with fewer it could only abstain
        with self.asked(images):
            counts = torch.cat([poll.counts("prediction", draws) for poll in self.polls(images, seeds, generator)])
        return winners(counts, alpha)


def winners(counts: Int64[Tensor, "B K"], alpha: float) -> Labels:
    r"""The most frequent class of each row, or :data:`ABSTAIN`.

    It abstains unless the two most frequent classes differ by the exact two-sided binomial test,

    .. math:: 2\, P\big(\mathrm{Bin}(n_1 + n_2, \tfrac12) \ge n_1\big) \le \alpha .

    Args:
        counts: Votes for each class.
        alpha: Chance that a class that is not the most probable one is returned.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019, proposition 1;
        Hung and Fithian, *Rank verification for exponential families*, 2019.
    """
    first, second = counts.topk(2).values.unbind(1)
    chance = 2 * chance_of_at_least(first, first + second, 0.5)
    return counts.argmax(1).masked_fill((chance > alpha).to(counts.device), ABSTAIN)
