"""Over-approximation: how far a set reaches beyond real changes, its diversity, and label preservation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from augment.double_precision import in_double
from perturbsets._types import Flags, Images, Offsets, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import APGD, Ascent
from perturbsets.criteria.extremes import check_finite, climbing, farthest_members, squared_difference
from perturbsets.criteria.figures import figure, named, spread
from perturbsets.criteria.pairs import Pairs, SourceBatch, by_clean_image, check_held_out, joined
from perturbsets.evaluation.accuracy import correct_under
from perturbsets.intervals import ends, independent, mean_interval, share_interval
from perturbsets.objectives import Margin
from perturbsets.printing import Printed, Result
from perturbsets.sets.base import PerturbationSet

UNMOVED = 0.01  # of the mean squared real change, below which no difference is visible


@dataclass(frozen=True)
class LabelPreservation(Result):
    """Correct predictions of a classifier for each clean image with a label, on the CPU.

    Attributes:
        clean: Whether the clean image is classified correctly.
        changed: Share of the image's real changed ones that are.
        samples: Share of the set's samples that are.
        worst: Whether an attack in the set fails; its mean bounds the true robust accuracy from above.
        source: Source number of each clean image.
    """

    clean: Flags
    changed: PerImage
    samples: PerImage
    worst: Flags
    source: Tensor

    def summary(self) -> dict[str, Any]:
        """Accuracies with intervals over sources."""
        kinds = ("clean", "changed", "samples", "worst")
        shares = {name: share_interval(getattr(self, name), self.source)._asdict() for name in kinds}
        return {"sources": independent(len(self.source), self.source), "images": len(self.source), **shares}

    @classmethod
    def joined(cls, parts: Sequence[LabelPreservation]) -> LabelPreservation:
        """The concatenation of batches; refused if no source has a label."""
        whole = cls(**joined([vars(part) for part in parts]))
        if not len(whole.source):
            raise ValueError("pairs must have labels for a reference classifier, got none: leave it out")
        return whole


@dataclass(frozen=True)
class OverApproximationResult(Result):
    """Displacements around each clean image x by the set and by real changes, on the CPU.

    Displacements and distances are mean squared differences per pixel.

    Attributes:
        reach: Largest displacement found, ``‖g(x, u) − x‖²``; a lower bound of the maximum.
        swing: Distance from that member to the one at the centre, ``‖g(x, u) − g(x, 0)‖²``; to a draw for sets that can
            only be sampled.
        sampled: Mean displacement of the set's own samples.
        real: Mean displacement of the real changes of x, ``‖x̃ − x‖²``.
        real_reach: The largest of these.
        diversity: Mean distance between two samples around the same x.
        real_diversity: Mean distance between two real changes of x; zero where it has only one.
        several: Whether x has more than one real change.
        offsets: Offsets of the farthest members.
        source: Source number of each x; those of one source are not independent.
        row: Position of the pair that x was taken from.
        labels: Label preservation, if a classifier was given.
    """

    reach: PerImage
    swing: PerImage
    sampled: PerImage
    real: PerImage
    real_reach: PerImage
    diversity: PerImage
    real_diversity: PerImage
    several: Tensor
    offsets: Offsets
    source: Tensor
    row: Tensor
    labels: LabelPreservation | None

    @property
    def still(self) -> Tensor:
        """Images around which no member is displaced by more than a hundredth of the mean real change."""
        return self.reach <= UNMOVED * self.real.mean()

    @property
    def fixed(self) -> Tensor:
        """Images around which all members are the same image, other than x, at all offsets."""
        level = UNMOVED * self.real.mean()
        return ~self.still & (self.swing <= level) & (self.diversity <= level)

    @property
    def sentence(self) -> str:
        """How far the farthest member lies, against the largest real changes."""
        ratio, low, high = mean_interval(self.reach, self.source, over=self.real_reach)
        between = ends(low, high, "{:.3g}".format, ", ")
        return f"Farthest member {ratio:.3g} [{between}] × the largest real changes, mean of {len(self.source)} images"

    def summary(self) -> dict[str, Any]:
        """Means with intervals over sources, and ratios to the real changes.

        ``reach.ratio`` is the mean largest displacement over the mean of the images' largest real ones;
        ``diversity.ratio`` is over images with several real changes, and ``None`` without any.
        """
        figures: dict[str, Any] = {"sources": independent(len(self.source), self.source), "images": len(self.source)}
        for name, over in (("reach", self.real_reach), ("swing", self.real_reach), ("sampled", self.real)):
            values: Tensor = getattr(self, name)
            ratio = named(figure(values, self.source, over), "ratio")
            figures[name] = {**figure(values, self.source), **spread(values), **ratio}
        for name in ("real", "real_reach"):
            figures[name] = {**figure(getattr(self, name), self.source), **spread(getattr(self, name))}
        figures["diversity"] = self._diversity()
        for name in ("still", "fixed"):
            figures[name] = share_interval(getattr(self, name), self.source)._asdict()
        figures["labels"] = None if self.labels is None else self.labels.summary()
        return figures

    def _diversity(self) -> dict[str, Any]:
        source, real = self.source[self.several], self.real_diversity[self.several]
        entry = {**figure(self.diversity, self.source), "sources": len(source.unique())}
        if not len(source):
            return {**entry, "real": None, "ratio": None}
        ratio = named(figure(self.diversity[self.several], source, real), "ratio")
        return {**entry, "real": figure(real, source), **ratio}


@dataclass(frozen=True)
class OverApproximation(Printed):
    r"""Measures how far a set reaches beyond real changes.

    .. math:: \operatorname{reach}(x) = \max_{u \in B} \tfrac1m \|g(x, u) - x\|^2, \qquad
        \operatorname{diversity}(x) = \mathbb E_{u, u'} \tfrac1m \|g(x, u) - g(x, u')\|^2

    The necessary subset property alone is met by the set of all images. Displacements are from x itself, as for real
    changes, not from the member at the centre. Each clean image counts once, even if several pairs share it; intervals
    are over sources.

    With a classifier: its accuracy on samples and in the worst case (by an attack in the set), against that on clean
    and on real changed images. A classifier trained on such changes separates the set's faults from its own.

    Args:
        steps: Steps of the search for the reach, and of the attack.
        restarts: Random starts of each.
        draws: Samples around each image, 2 or more.

    Raises:
        ValueError: If ``draws`` is below 2, or another number below 1.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness*, 2020 (the search, APGD).
    """

    steps: int = 20
    _: KW_ONLY
    restarts: int = 3
    draws: int = 8

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("restarts", 1), ("draws", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @torch.no_grad()
    def __call__(
        self,
        perturbations: PerturbationSet,
        pairs: Pairs,
        *,
        reference: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> OverApproximationResult:
        """Measures displacements per clean image, on pairs that were not trained on.

        A reference classifier of images in [0, 1] measures label preservation.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them, members are not finite, or labels or logits
                have the wrong shape or type.
        """
        check_held_out(perturbations, pairs)
        device = getattr(perturbations, "device", "cpu")
        ascent = APGD(self.steps, restarts=self.restarts)
        columns: list[dict[str, Tensor]] = []
        labels: list[LabelPreservation] = []
        for batch in by_clean_image(pairs, device=device):
            count = len(batch.source)
            clean = batch.clean[batch.first]
            best = farthest_members(perturbations, clean, ascent, generator=generator)
            check_finite(best.finite, batch.row)
            region = perturbations.at(clean)
            middle = region.centre() if region.searchable else region.sample(generator=generator)
            reach, farthest = best.loss, best.offsets
            members, real = Diversity(count), Diversity(count)
            samples = []
            for _ in range(self.draws):
                offsets = region.sample(generator=generator)
                sample = region.decode(offsets)
                check_finite(sample.isfinite().flatten(1).all(1), batch.row)
                members.add(sample - clean, torch.arange(count, device=clean.device))
                samples.append(sample)
                moved = squared_difference(sample, clean)  # a sample may be farther than the search result
                farthest = torch.where((moved > reach)[:, None], offsets, farthest)
                reach = reach.maximum(moved)
            real.add(batch.changed - batch.clean, batch.member)
            columns.append(
                {
                    "reach": reach,
                    "swing": squared_difference(region.decode(farthest), region.decode(middle)),
                    "sampled": members.displacement(),
                    "real": real.displacement(),
                    "real_reach": real.largest,
                    "diversity": members.distance(),
                    "real_diversity": real.distance(),
                    "several": real.count > 1,
                    "offsets": farthest,
                    "source": batch.source,
                    "row": batch.row,
                }
            )
            if reference is not None:
                attack = APGD(self.steps, restarts=self.restarts, stop_on_success=True)
                labels.append(label_preservation(reference, perturbations, batch, samples, attack, generator=generator))
        preserved = LabelPreservation.joined(labels) if labels else None
        return OverApproximationResult(**joined(columns), labels=preserved)


class Diversity:
    r"""Accumulates differences by group, for the mean squared distance between two of a group.

    .. math:: \frac{2}{n(n-1)} \sum_{i<j} \tfrac1m \|d_i - d_j\|^2
        = \frac{2}{n-1} \cdot \tfrac1m \Big(\sum_i \|d_i\|^2 - \tfrac1n \big\|\sum_i d_i\big\|^2\Big)

    Only sums are kept, in float64 as their difference cancels. The mean does not depend on n, so that few real changes
    can be compared with many samples.

    Attributes:
        count: Number of differences of each group.
        largest: The largest squared length of each group's differences, per pixel.

    Example:
        >>> diversity = Diversity(1)
        >>> diversity.add(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 0]))
        >>> diversity.distance()
        tensor([1.])
    """

    def __init__(self, groups: int) -> None:
        self.count = torch.zeros(groups, dtype=torch.int64)
        self.largest = torch.zeros(groups)
        self._sum: Tensor | None = None
        self._squares = torch.zeros(groups, dtype=torch.float64)

    def add(self, differences: Samples, member: Tensor) -> None:
        """Adds differences, changed less clean images, and the group of each."""
        flat = in_double(differences.flatten(1))
        member = member.to(flat.device)
        if self._sum is None:
            self._sum = flat.new_zeros(len(self.count), flat.shape[1])
            self.count, self._squares = self.count.to(flat.device), self._squares.to(flat.device)
            self.largest = self.largest.to(flat.device)
        lengths = flat.square().mean(1)
        self._sum.index_add_(0, member, flat)
        self._squares.index_add_(0, member, lengths)
        self.count.index_add_(0, member, torch.ones_like(member))
        self.largest.scatter_reduce_(0, member, lengths.float(), "amax")

    def displacement(self) -> PerImage:
        """Mean squared length of each group's differences, per pixel."""
        return (self._squares / self.count.clamp_min(1)).float()

    def distance(self) -> PerImage:
        """Mean squared distance between two of a group, per pixel; zero for groups of fewer than two."""
        if self._sum is None:
            return torch.zeros_like(self.largest)
        rest = self._squares - self._sum.square().mean(1) / self.count.clamp_min(1)
        return (2 * rest.clamp_min(0) / (self.count - 1).clamp_min(1)).float() * (self.count > 1)


def label_preservation(
    reference: nn.Module,
    perturbations: PerturbationSet,
    batch: SourceBatch,
    samples: Sequence[Images],
    ascent: Ascent,
    *,
    generator: torch.Generator | None = None,
) -> LabelPreservation:
    """Classifies the members of a set around the clean images of a batch: samples of them, and those of an attack."""
    device = batch.clean.device
    rows = (batch.label >= 0).nonzero()[:, 0].to(device)
    if not len(rows):
        none = torch.zeros(0)
        return LabelPreservation(none.bool(), none, none, none.bool(), batch.source[:0])
    label, clean = batch.label.to(device)[rows], batch.clean[batch.first][rows]
    labelled = perturbations.select(rows)
    attack = Adversary(labelled, Margin(), climbing(labelled.at(clean), ascent))
    worst = correct_under(reference, attack, clean, label, generator=generator)
    right = correct_under(reference, None, clean, label)
    sampled = torch.stack([correct_under(reference, None, sample[rows], label) for sample in samples])
    own = batch.label.to(device)[batch.member]
    known = own >= 0
    real = correct_under(reference, None, batch.changed[known], own[known]).float()
    sums = real.new_zeros(len(batch.source)).index_add_(0, batch.member[known], real)
    counts = torch.bincount(batch.member, minlength=len(batch.source))
    columns = (right, (sums / counts)[rows], sampled.float().mean(0), worst, batch.source[rows.cpu()])
    return LabelPreservation(*(column.cpu() for column in columns))
