"""One random pair of every source: pairs of one source are not independent, and certificates count what is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from augment import PairStore
from perturbsets._types import Labels, Rows
from perturbsets.criteria.pairs import Pairs, batches


class SomePairs:
    """Some of many pairs, in an order of their own.

    Args:
        pairs: The many.
        rows: Positions of those that count.
    """

    def __init__(self, pairs: Pairs, rows: Rows) -> None:
        self._pairs, self._rows = pairs, rows

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._rows)

    def batch(self, indices: Any) -> tuple[Tensor, Tensor, Labels, Labels]:
        """Clean and changed images, source numbers and labels."""
        return self._pairs.batch(self._rows[torch.as_tensor(indices)])


def one_per_source(sources: Tensor, *, generator: torch.Generator | None = None) -> Rows:
    """Positions of one pair of every source, each pair of a source as likely as the others.

    Args:
        sources: Number of each pair's source ``[N]``.
        generator: For the draw; the global one if not given.

    Returns:
        Positions on the CPU, in the order of the sources' numbers.

    Example:
        >>> one_per_source(torch.tensor([7, 7, 3])).tolist() in ([2, 0], [2, 1])
        True
    """
    count = len(sources)
    order = torch.randperm(count, generator=generator, device=None if generator is None else generator.device).cpu()
    found, place = sources.cpu()[order].unique(return_inverse=True)
    first = torch.full((len(found),), count).scatter_reduce_(0, place, torch.arange(count), "amin")
    return order[first]


def draw_pairs(pairs: Pairs, *, generator: torch.Generator | None = None) -> SomePairs:
    """One random pair of every source.

    Args:
        pairs: The pairs.
        generator: For the draw; the global one if not given.

    Raises:
        ValueError: If there are none.
    """
    sources = pairs.sources if isinstance(pairs, PairStore) else torch.cat([batch.source for batch in batches(pairs)])
    return SomePairs(pairs, one_per_source(sources, generator=generator))
