"""Going through held-out pairs clean image by clean image: what depends on it alone is asked once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from perturbsets._types import Images, Labels
from perturbsets.criteria.pairs import BATCH, Pairs, floats


class SourceBatch(NamedTuple):
    """All pairs of some clean images.

    Attributes:
        clean: Clean images, one per pair.
        changed: Changed images.
        member: Which of the batch's clean images each pair is of, on the images' device.
        first: Position in the batch of the first pair of each clean image.
        source: Number of the source of each clean image; those of one source are not independent.
        label: Class of each clean image's first pair, -1 where there is none.
        row: Which of all pairs the first one of each clean image is.
    """

    clean: Images
    changed: Images
    member: Labels
    first: Labels
    source: Labels
    label: Labels
    row: Labels


def by_clean_image(pairs: Pairs, size: int = BATCH, *, device: torch.device | str = "cpu") -> Iterator[SourceBatch]:
    """All pairs, those of a clean image together, in the order of these.

    Pairs that do not tell their ``clean_rows``, as :class:`augment.PairStore` does, have one for each source.

    Args:
        pairs: The pairs.
        size: Pairs in one batch, at most, unless a clean image has more.
        device: Where the images go; numbers and labels stay on the CPU.

    Raises:
        ValueError: If there are no pairs.
    """
    source, label = sources_of(pairs), labels_of(pairs)
    image = getattr(pairs, "clean_rows", source)
    order = image.argsort(stable=True)
    _, counts = image[order].unique_consecutive(return_counts=True)
    for block in _blocks(counts, size):
        taken, order = order[: int(block.sum())], order[int(block.sum()) :]
        clean, changed, *_ = pairs.batch(taken)
        first = block.cumsum(0) - block
        member = torch.repeat_interleave(torch.arange(len(block)), block).to(device)
        rows = taken[first]
        yield SourceBatch(
            floats(clean, device), floats(changed, device), member, first.to(device), source[rows], label[rows], rows
        )


def sources_of(pairs: Pairs) -> Labels:
    """Number of each pair's source.

    Raises:
        ValueError: If there are no pairs.
    """
    return _column(pairs, "sources", 2)


def labels_of(pairs: Pairs) -> Labels:
    """Class of each pair, -1 where there is none.

    Raises:
        ValueError: If there are no pairs.
    """
    return _column(pairs, "labels", 3)


def _column(pairs: Pairs, name: str, position: int) -> Labels:
    """What the pairs keep under a name, or else give with their images."""
    if not len(pairs):
        raise ValueError("pairs must hold at least one pair, got none: choose another split")
    kept = getattr(pairs, name, None)
    if isinstance(kept, Tensor):
        return kept.long()
    return torch.cat([pairs.batch(rows)[position] for rows in torch.arange(len(pairs)).split(BATCH)]).long()


def _blocks(counts: Tensor, size: int) -> Iterator[Tensor]:
    """Runs of counts that sum up to a size at most, or are single."""
    start, total = 0, 0
    for number, count in enumerate(counts.tolist()):
        if total + count > size and number > start:
            yield counts[start:number]
            start, total = number, 0
        total += count
    yield counts[start:]
