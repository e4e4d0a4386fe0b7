"""Set quality in feature space: are samples of a set distributed like real changes?"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Flags
from perturbsets.criteria.features import FeatureExtractor, RandomFeatures, check_features, frechet_distance
from perturbsets.criteria.pairs import Pairs, batches, check_held_out, sources_of
from perturbsets.intervals import share_interval
from perturbsets.printing import Printed, Result
from perturbsets.sets.base import PerturbationSet

BLOCK = 1024  # rows whose distances to all others are held at a time


class PrecisionRecall(NamedTuple):
    """Which images lie in the other set's neighbourhoods.

    Attributes:
        precise: Whether each sample lies among real images; their share is the precision.
        recalled: Whether each real image lies among samples; their share is the recall.
    """

    precise: Flags
    recalled: Flags


def precision_recall(
    real: Float[Tensor, "M F"], samples: Float[Tensor, "N G"], *, neighbours: int = 3
) -> PrecisionRecall:
    r"""Which images lie in the other set, taken as the union of balls around its images.

    The ball around each image reaches to its k-th nearest neighbour in its own set.

    Args:
        real: Features of real images, a row each.
        samples: Features of samples.
        neighbours: Number k, at least 1.

    Raises:
        ValueError: If a set has no more than k rows, or features differ in number or are not finite.

    References:
        Kynkäänniemi et al., *Improved precision and recall metric for assessing generative models*, 2019.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> flags = precision_recall(real, torch.tensor([[0.5], [1.5], [-20.0]]), neighbours=1)
        >>> flags.precise.tolist(), flags.recalled.tolist()
        ([True, True, False], [True, True, True, False])
    """
    check_features(real, samples)
    if not 1 <= neighbours < min(len(real), len(samples)):
        raise ValueError(
            f"neighbours must be at least 1 and below the number of images, got {neighbours} for {len(real)} real "
            f"images and {len(samples)} samples"
        )
    real, samples = in_double(real), in_double(samples)  # distances of near features cancel in single precision
    return PrecisionRecall(_within(samples, real, neighbours), _within(real, samples, neighbours))


def _within(points: Tensor, centres: Tensor, neighbours: int) -> Flags:
    """Whether each point lies in the ball of a centre."""
    blocks = (torch.cdist(block, centres) for block in centres.split(BLOCK))
    radii = torch.cat([distances.kthvalue(neighbours + 1, dim=1).values for distances in blocks])
    return torch.cat([(torch.cdist(block, centres) <= radii).any(1) for block in points.split(BLOCK)])


@dataclass(frozen=True)
class QualityResult(Result):
    """Distances between sets of images, with one half of the real changed images as the reference.

    Attributes:
        samples: Fréchet distance of the set's samples, drawn around the clean images of the other half.
        clean: That of those clean images, which is that without a set.
        real: That of the other half's real changed images, which is that of a perfect set.
        precise: Whether each sample lies among real changed images.
        recalled: Whether each real changed image of the reference lies among samples.
        sample_source: Source of each sample.
        reference_source: Source of each reference image.
    """

    samples: float
    clean: float
    real: float
    precise: Flags
    recalled: Flags
    sample_source: Tensor
    reference_source: Tensor

    @property
    def sentence(self) -> str:
        """The Fréchet distances."""
        return (
            f"Fréchet distance {self.samples:.3g} of {len(self.precise)} samples, {self.clean:.3g} of clean images, "
            f"{self.real:.3g} of real changes"
        )

    def summary(self) -> dict[str, Any]:
        """Distances, and shares with intervals over sources."""
        return {
            "frechet": {"samples": self.samples, "clean": self.clean, "real": self.real},
            "precision": share_interval(self.precise, self.sample_source)._asdict(),
            "recall": share_interval(self.recalled, self.reference_source)._asdict(),
            "images": len(self.precise),
            "reference": len(self.recalled),
        }


@dataclass(frozen=True)
class SetQuality(Printed):
    """Compares samples of a set with real changed images, in feature space.

    Pairs are halved, every second one in the order of their sources: sources with several pairs are in both halves, so
    that distances are those of changes rather than of contents. Real changed images of one half are the reference; the
    clean images of the other half are perturbed by draws from the set. It complements the necessary subset property,
    which the set of all images meets.

    Args:
        features: From images to features; :class:`RandomFeatures` if not given.
        neighbours: Number of neighbours for precision and recall, at least 1.

    Raises:
        ValueError: If ``neighbours`` is below 1.
    """

    features: FeatureExtractor | None = None
    _: KW_ONLY
    neighbours: int = 3

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")

    @torch.no_grad()
    def __call__(
        self, perturbations: PerturbationSet, pairs: Pairs, *, generator: torch.Generator | None = None
    ) -> QualityResult:
        """Compares samples and real changed images of pairs that were not trained on.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them, or there are too few for the neighbours.
        """
        check_held_out(perturbations, pairs)
        features = self.features or RandomFeatures()
        source = sources_of(pairs)
        held = torch.zeros(len(source), dtype=torch.bool)
        held[source.argsort(stable=True)[::2]] = True
        reference, real, clean, samples = [], [], [], []
        for part in batches(pairs, device=getattr(perturbations, "device", "cpu")):
            mine = held[part.row].to(part.clean.device)
            reference.append(features(part.changed[mine]))
            region = perturbations.at(part.clean[~mine])
            samples.append(features(region.decode(region.sample(generator=generator))))
            real.append(features(part.changed[~mine]))
            clean.append(features(part.clean[~mine]))
        first, *others = (torch.cat(blocks) for blocks in (reference, samples, clean, real))
        sampled, unchanged, perfect = (frechet_distance(first, other) for other in others)
        flags = precision_recall(first, others[0], neighbours=self.neighbours)
        return QualityResult(sampled, unchanged, perfect, *flags, source[~held], source[held])
