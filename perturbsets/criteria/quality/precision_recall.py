"""Precision and recall in feature space: do samples look real, and do they show all that is real?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Flags
from perturbsets.criteria.quality.frechet import check_features

BLOCK = 1024  # rows whose distances to all others are held at a time


class PrecisionRecall(NamedTuple):
    """Which images the other set's neighbourhoods hold.

    Attributes:
        precise: For each sample, whether it lies where real images lie; the share of these is the precision.
        recalled: For each real image, whether it lies where samples lie; the share of these is the recall.
    """

    precise: Flags
    recalled: Flags


def precision_recall(real: Float[Tensor, "M F"], samples: Float[Tensor, "N G"], neighbours: int = 3) -> PrecisionRecall:
    r"""Tells which images lie within the other set, taken as the union of balls around its own.

    The ball around each image reaches to its k-th nearest neighbour in its own set.

    Args:
        real: Features of real images, a row each.
        samples: Features of samples.
        neighbours: Number k of neighbours, at least 1.

    Returns:
        A flag per sample and one per real image.

    Raises:
        ValueError: If a set has no more than k rows, or features do not fit together.

    References:
        Kynkäänniemi et al., *Improved precision and recall metric for assessing generative models*, 2019.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> found = precision_recall(real, torch.tensor([[0.5], [1.5], [-20.0]]), neighbours=1)
        >>> found.precise.tolist(), found.recalled.tolist()
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
    radii = torch.cat(
        [torch.cdist(block, centres).kthvalue(neighbours + 1, dim=1).values for block in centres.split(BLOCK)]
    )
    return torch.cat([(torch.cdist(block, centres) <= radii).any(1) for block in points.split(BLOCK)])
