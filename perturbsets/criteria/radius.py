"""The radius of the ball, from the norms of encodings of pairs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cvae import CVAE
from perturbsets._types import Offsets
from perturbsets.criteria.figures import holding
from perturbsets.criteria.groups import Grouping, groups_of, members
from perturbsets.criteria.pairs import Pairs, batches, sources_of


@torch.no_grad()
def encodings(model: CVAE, pairs: Pairs) -> Offsets:
    r"""Encodings of pairs in prior standard deviations, :math:`u = (\mu_q - \mu_p) / \sigma_p`, on the CPU.

    Args:
        model: A fitted model, in evaluation mode.
        pairs: Pairs of images.

    Raises:
        ValueError: If there are no pairs, or an encoding is not finite.
    """
    device = next(model.parameters()).device
    parts = [model.encode(batch.clean, batch.changed).cpu() for batch in batches(pairs, device=device)]
    offsets = torch.cat(parts)
    if not bool(offsets.isfinite().all()):
        raise ValueError("model must give finite encodings, got NaN or infinity: fit it again")
    return offsets


def radius_from_pairs(model: CVAE, pairs: Pairs, *, quantile: float = 1.0) -> float:
    """The radius, in prior standard deviations, that contains a share of the encodings of pairs: one of their norms.

    Args:
        model: A fitted model.
        pairs: Pairs that were not trained on.
        quantile: Least share of the encodings in (0, 1]; 1 takes the largest norm. A smaller share of future pairs may
            lie within: :class:`perturbsets.CoveringRadius` certifies one.

    Raises:
        ValueError: If the quantile is outside (0, 1].

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 4 (radius from
        encodings of held-out data).
    """
    _check_quantile(quantile)
    return holding(encodings(model, pairs).norm(dim=1), quantile)


def radius_by_group(
    model: CVAE, pairs: Pairs, *, quantile: float = 1.0, groups: Mapping[str, Grouping] | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """The radius that each group of pairs needs by itself.

    Args:
        model: A fitted model.
        pairs: Pairs that were not trained on.
        quantile: As for :func:`radius_from_pairs`; the largest norm grows with the number of pairs.
        groups: Groupings by name; those that the pairs know themselves if not given.

    Returns:
        Name of the grouping, then of the group, to ``radius`` in prior standard deviations, ``pairs`` and ``sources``.

    Raises:
        ValueError: If the quantile is outside (0, 1], or groups do not fit the pairs.
    """
    _check_quantile(quantile)
    groups = groups_of(pairs) if groups is None else groups
    rows_of = {way: members(grouping, len(pairs), way) for way, grouping in groups.items()}
    norms, source = encodings(model, pairs).norm(dim=1), sources_of(pairs)

    def entry(rows: Tensor) -> dict[str, float]:
        return {"radius": holding(norms[rows], quantile), "pairs": len(rows), "sources": len(source[rows].unique())}

    return {way: {name: entry(rows) for name, rows in by_name.items()} for way, by_name in rows_of.items()}


def _check_quantile(quantile: float) -> None:
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1], got {quantile}; 1 takes the largest norm")
