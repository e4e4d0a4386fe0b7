"""Attacks inside certified radii: does any offset there change the vote?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Labels, Model, Offsets, PerImage, Rows, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents.apgd import APGD
from perturbsets.ascents.base import Ascent
from perturbsets.certificates.classification import Certified, Smoothed
from perturbsets.certificates.votes import agreements_needed
from perturbsets.model_call import class_logits, given_or_fresh
from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.classification import CrossEntropy
from perturbsets.printing import Result
from perturbsets.sets.base import Region
from perturbsets.sets.standardized import Standardized
from perturbsets.share_bounds import check_chance, share_at_most


@dataclass(frozen=True)
class Contradictions(Result):
    """Votes at the worst offset found inside the certified radius of each certified image.

    Attributes:
        rows: Which images were attacked: those with a certificate, ``[N]``.
        offsets: The offset of each, in standard deviations of the noise, with the fewest votes for its certified class.
        agreed: Votes for the certified class there.
        bounds: Upper bound of its share there.
        draws: Votes at each offset.
        alpha: Chance that any bound is wrong.
    """

    rows: Rows
    offsets: Offsets
    agreed: Labels
    bounds: PerImage
    draws: int
    alpha: float

    @property
    def contradicted(self) -> Flags:
        """Which of these images contradict their certificate: the bound of the share is below one half."""
        return self.bounds < 0.5

    def summary(self) -> dict[str, Any]:
        """The search as plain values."""
        return {
            "searched": len(self.rows),
            "contradictions": int(self.contradicted.sum()),
            "smallest_share": float(self.agreed.min()) / self.draws if len(self.rows) else None,
            "draws": self.draws,
            "alpha": self.alpha,
        }


def find_contradictions(
    smoothed: Smoothed,
    images: Samples,
    certified: Certified,
    *,
    ascent: Ascent | None = None,
    noises: int = 16,
    draws: int = 1000,
    alpha: float = 0.001,
    generator: torch.Generator | None = None,
) -> Contradictions:
    """Attacks certified votes inside their radii, then counts votes at the worst offsets.

    One attack is on the bare model, another on the mean probability over fixed noise, which is what votes follow; the
    worse offset of the two counts. An offset is a contradiction only if the upper bound of the certified class's share
    is below ½, at a level corrected for all images and both attacks.

    Args:
        smoothed: The smoothed model that was certified.
        images: The clean samples.
        certified: Their certificates.
        ascent: How to climb; :class:`perturbsets.APGD` of 50 steps if not given.
        noises: Noise vectors of each image in the attack on the mean.
        draws: Votes counted at each offset.
        alpha: Chance that any offset is falsely called a contradiction, in (0, 1).
        generator: For starts, noise and seeds; a fresh one, seeded by the system, if not given.

    Raises:
        ValueError: If the certificates are not those of these images, or a number is out of range.

    References:
        Salman et al., *Provably robust deep learning via adversarially trained smoothed classifiers*, 2019, sec. 2.2,
        for the attack on the mean.
    """
    check_chance("alpha", alpha)
    if len(images) != len(certified.classes):
        raise ValueError(f"certified must hold one certificate for each of {len(images)} images, got those of others")
    if noises < 1 or draws < 1:
        raise ValueError(f"noises and draws must be at least 1, got {noises} and {draws}")
    generator = given_or_fresh(generator)
    rows = certified.certified.nonzero()[:, 0]
    if not len(rows):
        empty = certified.radii[rows]
        return Contradictions(rows, empty[:, None], certified.agreed[rows], empty, draws, alpha)
    level = alpha / (2 * len(rows))
    agreements_needed(draws, 0.5, level)  # with fewer draws no share could be shown to lie below one half
    attacked: list[list[Offsets]] = [[], []]
    for part in rows.split(max(1, smoothed.batch // noises)):  # with all their noise they are one forward pass
        radii = certified.radii[part] / smoothed.scaled(torch.ones_like(certified.radii[part]))
        inside = Standardized(smoothed.perturbations.select(part), sigma=smoothed.sigma, radius=radii)
        labels = certified.classes[part].to(images.device)
        for offsets, objective in zip(attacked, (CrossEntropy(), MeanVote(inside, noises, generator)), strict=True):
            attack = Adversary(inside, objective, ascent or APGD(50))
            offsets.append(attack(smoothed.model, images[part], labels, generator=generator).offsets)
    smoothed = replace(smoothed, perturbations=smoothed.perturbations.select(rows))
    bare, mean = (torch.cat(offsets) for offsets in attacked)
    votes = (
        smoothed.count_votes(images[rows], draws, "contradiction", centre=offsets, generator=generator)
        for offsets in (bare, mean)
    )
    agreed, fewer = (counts.gather(1, certified.classes[rows, None])[:, 0] for counts in votes)
    worse = torch.where((fewer < agreed)[:, None], mean, bare)
    agreed = agreed.minimum(fewer)
    return Contradictions(rows, worse, agreed, share_at_most(agreed, draws, level), draws, alpha)


class MeanVoteLoss(Loss):
    """A :class:`MeanVote` bound to a model, samples and classes, with one fixed noise ``[N, Z]`` around all offsets."""

    def __init__(self, model: Model, region: Region, classes: Labels, noise: Tensor) -> None:
        self.model, self.classes, self.noise, self._region = model, classes, noise, region
        self._draws = region.select(torch.arange(len(classes), device=noise.device).repeat_interleave(len(noise)))

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        around = (offsets[:, None] + self.noise).flatten(0, 1)
        logits = class_logits(self.model, self._draws.decode(around)).unflatten(0, (len(offsets), len(self.noise)))
        agreed = (logits.detach().argmax(2) == self.classes[:, None]).sum(1)
        chosen = self.classes[:, None, None].expand(-1, len(self.noise), 1)
        logs = logits.log_softmax(2).gather(2, chosen)[:, :, 0]
        return math.log(len(self.noise)) - logs.logsumexp(1), 2 * agreed < len(self.noise)

    def select(self, rows: Rows) -> MeanVoteLoss:
        return MeanVoteLoss(self.model, self._region.select(rows), self.classes[rows], self.noise)


@dataclass(frozen=True)
class MeanVote(Objective):
    r"""Minus the logarithm of the mean probability of a class over noise around an offset.

    .. math:: \ell(w) = -\ln \tfrac1N \sum_{i=1}^N \operatorname{softmax}\big(f(g(x, \sigma (w + \eta_i)))\big)_c

    It succeeds where fewer than half of the N noise vectors vote for the class. The set is in units of the noise.
    """

    perturbations: Standardized
    noises: int
    generator: torch.Generator

    def at(self, model: Model | None, images: Samples, labels: Labels) -> MeanVoteLoss:
        assert model is not None
        region = self.perturbations.at(images)
        noise = torch.randn(
            self.noises, region.size, dtype=region.dtype, generator=self.generator, device=self.generator.device
        )
        return MeanVoteLoss(model, region, labels, noise.to(images.device))
