"""Banks: features of many labelled images, read in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import Labels, Rows

BLOCK_BYTES, BLOCK_ROWS = 1 << 26, 1 << 11  # most bytes of a block in double precision, and most rows


class Block(NamedTuple):
    """Some rows of a bank: their numbers and their features."""

    rows: Rows
    features: Float[Tensor, "N D"]


class Bank(ABC):
    """Features of labelled images: a matrix per layer, whose rows are the same images in every layer.

    Attributes:
        layers: Names of the layers.
        labels: Class of each image, in any order.
        classes: Names of the classes, if they are known.
    """

    layers: tuple[str, ...]
    labels: Labels
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @abstractmethod
    def _read(self, layer: str, rows: Rows) -> Float[Tensor, "N D"]:
        """Features at valid rows, as a new tensor."""

    def features(self, layer: str, rows: Int64[Tensor, "*shape"] | Sequence[int]) -> Float[Tensor, "*shape D"]:
        """Features of the images of some rows, in any shape and order.

        Raises:
            ValueError: If there is no such layer, or a feature is not finite.
            IndexError: If there is no such row.
        """
        if layer not in self.layers:
            near = get_close_matches(layer, self.layers, cutoff=0.0)
            raise ValueError(
                f"layer must be one of the bank's {len(self.layers)} layers, got {layer!r}: nearest are {near}"
            )
        wanted = torch.as_tensor(rows, dtype=torch.int64).cpu()
        if wanted.numel() and not 0 <= int(wanted.min()) <= int(wanted.max()) < len(self):
            raise IndexError(f"rows must be from 0 to {len(self) - 1}, got {int(wanted.min())} to {int(wanted.max())}")
        features = self._read(layer, wanted.flatten())
        if (bad := not_finite(features)) is not None:
            row = int(wanted.flatten()[bad])
            raise ValueError(
                f"features of layer {layer!r} must be finite, got NaN or infinity in row {row} of the bank"
            )
        return features.reshape(*wanted.shape, features.shape[1])

    def blocks(self, layer: str, *, size: int | None = None, rows: Rows | None = None) -> Iterator[Block]:
        """Yields the bank in blocks, so that it need not fit in memory.

        Args:
            layer: Name of the layer.
            size: Most rows of a block; by default 2048, or fewer so that they are at most 64 MiB in double precision.
            rows: Rows to yield; all if not given.

        Raises:
            ValueError: If the size is below 1, and as for :meth:`features`.
        """
        if size is None:
            size = block_rows(self.features(layer, [0]).shape[1])
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        for part in (torch.arange(len(self)) if rows is None else rows.cpu()).split(size):
            yield Block(part, self.features(layer, part))

    def members(self, label: int, least: int = 1) -> Rows:
        """Rows of a class in ascending order.

        Raises:
            ValueError: If it has fewer than `least`.
        """
        rows = (self.labels == label).nonzero()[:, 0]
        if len(rows) < least:
            name = f"class {label}" + (f" ({self.classes[label]})" if 0 <= label < len(self.classes) else "")
            raise ValueError(
                f"{name} must have at least {least} images in the bank, got {len(rows)}: leave it out, or write a bank "
                "of more images"
            )
        return rows


class MemoryBank(Bank):
    """Features in memory, such as those of a small data set.

    Args:
        features: Features by layer, a row per image.
        labels: Class of each image.
        classes: Names of the classes, for messages.

    Raises:
        ValueError: If there are no layers or images, or a layer has not one row per label.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [5.0]])}, torch.tensor([7, 7, 2]))
        >>> bank.members(7).tolist(), bank.features("fc", [2]).tolist()
        ([0, 1], [[5.0]])
    """

    def __init__(
        self, features: Mapping[str, Float[Tensor, "_ _"]], labels: Labels, classes: Sequence[str] = ()
    ) -> None:
        if not features or not len(labels):
            raise ValueError(f"features must hold a layer and an image, got {len(features)} and {len(labels)}")
        wrong = {layer: len(values) for layer, values in features.items() if len(values) != len(labels)}
        if wrong:
            raise ValueError(f"features must have a row for each of {len(labels)} labels, got {wrong}")
        self._features = {layer: values.detach() for layer, values in features.items()}
        self.layers, self.labels, self.classes = tuple(features), labels.cpu(), tuple(classes)

    def _read(self, layer: str, rows: Rows) -> Float[Tensor, "N D"]:
        return self._features[layer][rows.to(self._features[layer].device)]


def block_rows(width: int) -> int:
    """Number of rows per block for features of some width."""
    return min(BLOCK_ROWS, max(1, BLOCK_BYTES // (8 * width)))


def not_finite(features: Float[Tensor, "N D"]) -> int | None:
    """The first row with NaN or infinity, if there is one."""
    if not features.numel() or bool(torch.stack(features.aminmax()).isfinite().all()):  # far cheaper than every entry
        return None
    return int((~features.isfinite().all(1)).nonzero()[0])
