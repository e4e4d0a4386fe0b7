"""Label preservation: does a classifier still predict the true class of a set's members?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Flags, Images, PerImage
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import Ascent
from perturbsets.criteria.extremes import climbing
from perturbsets.criteria.pairs import SourceBatch
from perturbsets.evaluation.accuracy import correct_under
from perturbsets.intervals import independent, share_interval
from perturbsets.objectives import Margin
from perturbsets.printing import Result
from perturbsets.sets.base import PerturbationSet


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
        joined = cls(*(torch.cat(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))
        if not len(joined.source):
            raise ValueError("pairs must have labels for a reference classifier, got none: leave it out")
        return joined


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
