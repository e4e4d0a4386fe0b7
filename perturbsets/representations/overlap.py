"""Whether two points have the same neighbours."""

from __future__ import annotations

from jaxtyping import Int64
from torch import Tensor

from perturbsets._types import Labels
from perturbsets.intervals import Interval, share_interval


def neighbour_overlap(first: Int64[Tensor, "B K"], second: Int64[Tensor, "_ _"]) -> Labels:
    r"""How many neighbours two points have in common.

    .. math:: |N_K(\alpha) \cap N_K(g)|

    Both searches leave out the guide itself, which would otherwise be a neighbour of one and not of the other.

    Args:
        first: Rows of the neighbours of one point, such as the adversary, from :func:`nearest_neighbours`.
        second: Rows of those of the other, such as the guide.

    Returns:
        One count per pair of points, from 0 to K.

    Raises:
        ValueError: If the shapes differ, or a row comes twice for one point.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016, sec. 3 (3 nearest neighbours).

    Example:
        >>> import torch
        >>> neighbour_overlap(torch.tensor([[4, 8, 2], [1, 2, 3]]), torch.tensor([[2, 7, 4], [9, 8, 7]])).tolist()
        [2, 0]
    """
    if first.shape != second.shape:
        raise ValueError(f"first and second must be of one shape, got {list(first.shape)} and {list(second.shape)}")
    for name, rows in (("first", first), ("second", second)):
        if bool((rows.sort(1).values.diff(dim=1) == 0).any()):
            raise ValueError(f"{name} must hold different rows for each point, got one twice")
    return (first[:, :, None] == second[:, None, :]).sum((1, 2))


def overlap_share(counts: Labels, least: int, groups: Tensor | None = None) -> Interval:
    """Share of pairs that have at least so many neighbours in common, with its interval.

    Args:
        counts: Common neighbours of each pair, from :func:`neighbour_overlap`.
        least: How many are needed; of three neighbours, 3 asks for all and 2 for at least two.
        groups: Number of each pair's independent unit; by default every pair is its own.

    Returns:
        The share and its interval at 95 %.

    Raises:
        ValueError: If there are no pairs.

    Example:
        >>> import torch
        >>> round(overlap_share(torch.tensor([3, 2, 1, 3]), least=2).mean, 2)
        0.75
    """
    if not len(counts):
        raise ValueError("counts must hold at least one pair, got none")
    return share_interval(counts >= least, groups)
