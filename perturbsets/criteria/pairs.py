"""Held-out pairs, in batches of pairs or of clean images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype

from augment import PairStore
from perturbsets._types import Images, Labels
from perturbsets.sets import PairsUsed, PerturbationSet
from perturbsets.sets.pairs_used import pairs_used

BATCH = 256
COPIES = 0.01
"""Share of held-out images that may also have been fitted on: data sets contain equal images by chance."""


@runtime_checkable
class Pairs(Protocol):
    """Pairs of images, as :class:`augment.PairStore` gives them."""

    def __len__(self) -> int:
        """Number of pairs."""
        ...

    def batch(self, indices: Any) -> tuple[Tensor, Tensor, Labels, Labels]:
        """Clean and changed images (uint8, or float in [0, 1]), source numbers and labels."""
        ...


class PairBatch(NamedTuple):
    """A batch of pairs in floating point.

    Attributes:
        clean: Images x in [0, 1].
        changed: Images x̃ in [0, 1].
        source: Number of the source image of each pair.
        row: Position of each pair among all pairs.
    """

    clean: Images
    changed: Images
    source: Labels
    row: Labels


def batches(pairs: Pairs, *, size: int = BATCH, device: torch.device | str = "cpu") -> Iterator[PairBatch]:
    """Batches of all pairs in order, on a device; numbers stay on the CPU. Refuses an empty split."""
    _check_any(pairs)
    for rows in torch.arange(len(pairs)).split(size):
        clean, changed, source, *_ = pairs.batch(rows)
        yield PairBatch(floats(clean, device), floats(changed, device), source, rows)


def mismatched(pairs: Pairs, *, size: int = BATCH, device: torch.device | str = "cpu") -> Iterator[PairBatch]:
    """The same changed images, each with the clean image of another source.

    The clean image is that of the pair half of all pairs further on, or of the next one of another source. Pairs of
    one source only are refused.
    """
    count, source = len(pairs), sources_of(pairs)
    if len(source.unique()) < 2:
        raise ValueError(
            "pairs must come from at least two sources to be mismatched, got one: measure on pairs of more sources"
        )
    partner = (torch.arange(count) + count // 2) % count
    while bool((same := source[partner] == source).any()):
        partner[same] = (partner[same] + 1) % count
    for rows in torch.arange(count).split(size):
        clean, *_ = pairs.batch(partner[rows])
        _, changed, own, *_ = pairs.batch(rows)
        yield PairBatch(floats(clean, device), floats(changed, device), own, rows)


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Columns of batches by name, each concatenated, on the CPU."""
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def floats(images: Tensor, device: torch.device | str) -> Images:
    """Stored images in single precision in [0, 1], on a device."""
    return to_dtype(images.to(device), torch.float32, scale=True)


class SourceBatch(NamedTuple):
    """All pairs of some clean images.

    Attributes:
        clean: Clean images, one per pair.
        changed: Changed images.
        member: Position among the batch's clean images of each pair's, on the images' device.
        first: Position in the batch of the first pair of each clean image.
        source: Source number of each clean image; those of one source are not independent.
        label: Class of each clean image's first pair, -1 where there is none.
        row: Position among all pairs of each clean image's first pair.
    """

    clean: Images
    changed: Images
    member: Labels
    first: Labels
    source: Labels
    label: Labels
    row: Labels


def by_clean_image(pairs: Pairs, *, size: int = BATCH, device: torch.device | str = "cpu") -> Iterator[SourceBatch]:
    """Batches that hold all pairs of each of their clean images, in the order of these.

    Each source counts as one clean image unless pairs have ``clean_rows``, as :class:`augment.PairStore` does. A batch
    holds more pairs than its size only if a clean image has more. Numbers and labels stay on the CPU.
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
    """Source number of each pair."""
    return _column(pairs, "sources", 2)


def labels_of(pairs: Pairs) -> Labels:
    """Class of each pair, -1 where there is none."""
    return _column(pairs, "labels", 3)


def _column(pairs: Pairs, name: str, position: int) -> Labels:
    """An attribute of the pairs, or else a part of what their batches return."""
    _check_any(pairs)
    stored = getattr(pairs, name, None)
    if isinstance(stored, Tensor):
        return stored.long()
    return torch.cat([pairs.batch(rows)[position] for rows in torch.arange(len(pairs)).split(BATCH)]).long()


def _check_any(pairs: Pairs) -> None:
    if not len(pairs):
        raise ValueError("pairs must hold at least one pair, got none: choose another split")


def _blocks(counts: Tensor, size: int) -> Iterator[Tensor]:
    """Runs of counts that sum up to at most a size, or are single."""
    start, total = 0, 0
    for number, count in enumerate(counts.tolist()):
        if total + count > size and number > start:
            yield counts[start:number]
            start, total = number, 0
        total += count
    yield counts[start:]


def check_held_out(perturbations: PerturbationSet, pairs: Pairs) -> None:
    """Refuses pairs that a set was fitted on.

    Images are compared, not files, so that copies and other splits are recognised; all sets inside the set count. Pairs
    other than :class:`augment.PairStore`, and sets without a record of their images, pass: holding pairs out is then up
    to the caller.

    Raises:
        ValueError: If it was fitted on more than 1 % of their images; the message names the splits that can be used.
    """
    used = pairs_used(perturbations)
    if not used or not isinstance(pairs, PairStore):
        return
    images = pairs.digests()
    shares: dict[str, float] = {}
    for use in used:  # several sets may have learned from splits of one name
        name = f"{use.purpose} ({', '.join(use.splits)})"
        shares[name] = max(shares.get(name, 0.0), use.share(images))
    if max(shares.values()) <= COPIES:
        return
    owed = ", ".join(f"{share:.0%} to its {name}" for name, share in shares.items() if share > COPIES)
    free = " or ".join(repr(split) for split in pairs.splits if _is_free(pairs, split, used))
    remedy = f"take the split {free}" if free else "no split is free of them, make pairs of other images"
    raise ValueError(
        f"pairs must be held out, but of the images in {pairs.path} that were given, the set owes {owed}: {remedy}"
    )


def _is_free(pairs: PairStore, split: str, used: Sequence[PairsUsed]) -> bool:
    """Whether a split of the same file holds pairs, and none that were fitted on."""
    try:
        images = PairStore(pairs.path, split).digests()
    except ValueError:  # it holds no pairs
        return False
    return all(use.share(images) <= COPIES for use in used)
