"""Over-approximation: how far a set reaches beyond real changes, and what it does to labels and to variety."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Offsets, PerImage
from perturbsets.ascents import APGD
from perturbsets.criteria.extremes import Diversity, check_finite, farthest_members, squared_difference
from perturbsets.criteria.figures import figure, named, spread
from perturbsets.criteria.groups import by_clean_image
from perturbsets.criteria.labels import LabelPreservation, labels_kept
from perturbsets.criteria.pairs import Pairs, check_held_out
from perturbsets.intervals import independent, share_interval
from perturbsets.sets.base import PerturbationSet

UNMOVED = 0.01  # of the mean real change: a tenth of its distance, below which no picture shows a difference


@dataclass(frozen=True)
class OverApproximationResult:
    """What the set does around each clean image x, beside the real changes; all on the CPU.

    Displacements and distances are mean squared differences per pixel.

    Attributes:
        reach: Largest displacement found, ``‖g(x, u) − x‖²``; a lower bound of the largest there is.
        swing: Distance from that member to the one at the centre, ``‖g(x, u) − g(x, 0)‖²``; to a draw where the set can
            only be drawn from.
        sampled: Mean displacement of the set's own samples.
        real: Mean displacement of the real changes of x, ``‖x̃ − x‖²``.
        real_reach: The largest of these.
        diversity: Mean distance between two samples around the same x.
        real_diversity: Mean distance between two real changes of x; zero where it has one only.
        several: Whether x has more than one real change.
        offsets: Where the reach was found.
        source: Number of the source of each x; those of one source are not independent.
        row: Which of the pairs x was taken from.
        labels: What became of the labels, if a reference classifier was given.
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
        """Around which images no member is displaced by more than a hundredth of the mean real change."""
        return self.reach <= UNMOVED * self.real.mean()

    @property
    def fixed(self) -> Tensor:
        """Around which images all members are one other image: displaced, but the same wherever the offsets are."""
        level = UNMOVED * self.real.mean()
        return ~self.still & (self.swing <= level) & (self.diversity <= level)

    def summary(self) -> dict[str, Any]:
        """Means with intervals over sources, and ratios to the real changes.

        ``reach.ratio`` is the mean largest displacement over the mean of the images' largest real ones;
        ``diversity.ratio`` counts images with several real changes alone, and is ``None`` where there are none.
        """
        figures: dict[str, Any] = {
            "sources": independent(len(self.source), self.source),
            "images": len(self.source),
        }
        for name, over in (("reach", self.real_reach), ("swing", self.real_reach), ("sampled", self.real)):
            values: Tensor = getattr(self, name)
            ratio = named(figure(values, self.source, over), "ratio")
            figures[name] = {**figure(values, self.source), **spread(values), **ratio}
        figures["real"] = {**figure(self.real, self.source), **spread(self.real)}
        figures["real_reach"] = {**figure(self.real_reach, self.source), **spread(self.real_reach)}
        figures["diversity"] = self._diversity()
        for name in ("still", "fixed"):
            figures[name] = share_interval(getattr(self, name), self.source)._asdict()
        figures["labels"] = None if self.labels is None else self.labels.summary()
        return figures

    def _diversity(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            **figure(self.diversity, self.source),
            "sources": len(self.source[self.several].unique()),
            "real": None,
            "ratio": None,
        }
        if bool(self.several.any()):
            source, real = self.source[self.several], self.real_diversity[self.several]
            found["real"] = figure(real, source)
            found |= named(figure(self.diversity[self.several], source, real), "ratio")
        return found


@dataclass(frozen=True)
class OverApproximation:
    r"""Measures what a set holds beyond real changes.

    .. math:: \operatorname{reach}(x) = \max_{u \in B} \tfrac1m \|g(x, u) - x\|^2, \qquad
        \operatorname{diversity}(x) = \mathbb E_{u, u'} \tfrac1m \|g(x, u) - g(x, u')\|^2

    The necessary subset property alone is met by the set of all images. The reach counts from x itself, as the real
    changes do, rather than from the member at the centre. Everything is asked once a clean image, which several pairs
    may share; intervals are over sources.

    With a reference classifier: its accuracy over samples and in the worst case (a search through the set), beside that
    on clean and on real changed images. A classifier trained on such changes tells the set's faults from its own.

    Args:
        steps: Steps of the search for the reach, and of that for the worst case.
        restarts: Random starts of each.
        draws: Samples around each image, 2 or more.

    Raises:
        ValueError: If a number is too small.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness*, 2020 (the search, APGD).

    Example:
        >>> OverApproximation(steps=20, restarts=3, draws=8).draws
        8
    """

    steps: int = 20
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
        """Measures.

        Args:
            perturbations: The set.
            pairs: Pairs that were not trained on.
            reference: A classifier of the images, in [0, 1]; without one labels are left alone.
            generator: For starts and draws.

        Returns:
            Figures per source.

        Raises:
            ValueError: If there are no pairs, the set was learned from them or gives NaN or infinity, or labels or
                logits are not as they must be.
        """
        check_held_out(perturbations, pairs)
        device = getattr(perturbations, "device", "cpu")
        ascent = APGD(self.steps, restarts=self.restarts)
        columns: list[dict[str, Tensor]] = []
        labels: list[LabelPreservation] = []
        for batch in by_clean_image(pairs, device=device):
            count = len(batch.source)
            clean = batch.clean[batch.first]
            found = farthest_members(perturbations, clean, ascent, generator=generator)
            check_finite(found.finite, batch.row)
            region = perturbations.at(clean)
            middle = region.centre() if region.searchable else region.sample(generator=generator)
            reach, farthest = found.displacement, found.offsets
            members, real = Diversity(count), Diversity(count)
            samples = []
            for _ in range(self.draws):
                offsets = region.sample(generator=generator)
                sample = region.decode(offsets)
                check_finite(sample.isfinite().flatten(1).all(1), batch.row)
                members.add(sample - clean, torch.arange(count, device=clean.device))
                samples.append(sample)
                moved = squared_difference(sample, clean)  # a sample may lie farther than a search came
                farthest = torch.where((moved > reach)[:, None], offsets, farthest)
                reach = reach.maximum(moved)
            swing = squared_difference(region.decode(farthest), region.decode(middle))
            real.add(batch.changed - batch.clean, batch.member)
            columns.append(
                {
                    "reach": reach,
                    "swing": swing,
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
                labels.append(
                    labels_kept(
                        reference, perturbations, batch, samples, self.steps, self.restarts, generator=generator
                    )
                )
        joined = {name: torch.cat([part[name] for part in columns]).cpu() for name in columns[0]}
        return OverApproximationResult(**joined, labels=LabelPreservation.joined(labels) if labels else None)
