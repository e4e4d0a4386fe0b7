"""Label preservation: does a reference classifier still know what the members of a set show?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Flags, Images, PerImage
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import APGD
from perturbsets.criteria.extremes import climbing
from perturbsets.criteria.groups import SourceBatch
from perturbsets.evaluation.accuracy import correct_under
from perturbsets.intervals import independent, share_interval
from perturbsets.objectives import Margin
from perturbsets.sets.base import PerturbationSet


@dataclass(frozen=True)
class LabelPreservation:
    """What a reference classifier gets right of each clean image with a label, on the CPU.

    Attributes:
        clean: Whether it knows the clean image.
        changed: Share of the image's real changed ones that it knows.
        samples: Share of the set's samples that it knows.
        worst: Whether it knows every member that a search for its errors came to; an attack bounds the true share from
            above.
        source: Number of the source of each clean image.
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
        """Several batches as one.

        Raises:
            ValueError: If no source has a label.
        """
        fields = ("clean", "changed", "samples", "worst", "source")
        found = cls(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))
        if not len(found.source):
            raise ValueError("pairs must have labels to be judged by a reference classifier, got none: leave it out")
        return found


def labels_kept(
    reference: nn.Module,
    perturbations: PerturbationSet,
    batch: SourceBatch,
    samples: Sequence[Images],
    steps: int,
    restarts: int,
    *,
    generator: torch.Generator | None = None,
) -> LabelPreservation:
    """Judges the members of a set around the clean images of some sources.

    Args:
        reference: A classifier; it is judged in evaluation mode and left as it was.
        perturbations: The set.
        batch: The sources' pairs.
        samples: Samples of the set around the sources' clean images.
        steps: Steps of the search for errors.
        restarts: Its starts.
        generator: For the starts.

    Raises:
        ValueError: If labels or logits are not as they must be.
    """
    device = batch.clean.device
    rows = (batch.label >= 0).nonzero()[:, 0].to(device)
    if not len(rows):
        none = torch.zeros(0)
        return LabelPreservation(none.bool(), none, none, none.bool(), batch.source[:0])
    label, clean = batch.label.to(device)[rows], batch.clean[batch.first][rows]
    kept = perturbations.select(rows)
    search = climbing(kept.at(clean), APGD(steps, restarts=restarts, stop_on_success=True))
    worst = correct_under(reference, Adversary(kept, Margin(), search), clean, label, generator=generator)
    right = correct_under(reference, None, clean, label)
    sampled = torch.stack([correct_under(reference, None, sample[rows], label) for sample in samples])
    own = batch.label.to(device)[batch.member]
    known = own >= 0
    real = correct_under(reference, None, batch.changed[known], own[known]).float()
    sums = real.new_zeros(len(batch.source)).index_add_(0, batch.member[known], real)
    counts = torch.bincount(batch.member, minlength=len(batch.source))
    judged = (right, (sums / counts)[rows], sampled.float().mean(0), worst, batch.source[rows.cpu()])
    return LabelPreservation(*(part.cpu() for part in judged))
