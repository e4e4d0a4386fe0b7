"""Going through held-out pairs batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype

from perturbsets._types import Images, Labels

BATCH = 256


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
    """

    clean: Images
    changed: Images
    source: Labels


def batches(pairs: Pairs, size: int = BATCH, *, device: torch.device | str = "cpu") -> Iterator[PairBatch]:
    """All pairs in order, on a device; sources stay on the CPU.

    Raises:
        ValueError: If there are none.
    """
    if not len(pairs):
        raise ValueError("pairs must hold at least one pair, got none: choose another split")
    for rows in torch.arange(len(pairs)).split(size):
        clean, changed, source, *_ = pairs.batch(rows)
        yield PairBatch(floats(clean, device), floats(changed, device), source)


def mismatched(pairs: Pairs, size: int = BATCH, *, device: torch.device | str = "cpu") -> Iterator[PairBatch]:
    """The same changed images, each beside the clean image of another source.

    Every pair is matched with the clean image half of the pairs further on, or with the next one of
    another source where that is the same source.

    Raises:
        ValueError: If all pairs have one source.
    """
    count = len(pairs)
    source = torch.cat([batch.source for batch in batches(pairs, size)])
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
        yield PairBatch(floats(clean, device), floats(changed, device), own)


def floats(images: Tensor, device: torch.device | str) -> Images:
    """Stored images in single precision in [0, 1], on a device."""
    return to_dtype(images.to(device), torch.float32, scale=True)
