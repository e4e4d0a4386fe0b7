"""The pairs a set was learned from, which must not be used to check or certify it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from augment import PairStore
from cvae.files import check_readable, read_tensors
from perturbsets.model_call import reachable

FILE = "learned_from.safetensors"


@dataclass(frozen=True, eq=False)
class PairsUsed:
    """Pairs used in learning a set, identified by their images.

    An image is recognised by its pixels, in any file, split or order; one that was cropped, scaled or rotated is not.

    Args:
        purpose: What they were used for: ``"fit"``, or ``"selection"`` of weights and radius.
        splits: Names of the splits they came from.
        images: Numbers of their images, as :meth:`augment.PairStore.digests` gives them.
    """

    purpose: str
    splits: tuple[str, ...]
    images: Tensor

    @classmethod
    def of(cls, purpose: str, pairs: PairStore) -> PairsUsed:
        """The pairs of a file, and what they are for."""
        return cls(purpose, tuple(pairs.splits[number] for number in pairs.split.unique().tolist()), pairs.digests())

    def share(self, images: Tensor) -> float:
        """Share of some images, at least one, whose numbers are among these."""
        return float(torch.isin(images, self.images).double().mean())


def pairs_used(perturbations: Any) -> tuple[PairsUsed, ...]:
    """All pairs used in learning a set, or any part of it.

    Everything reachable from the set's attributes is searched: sets in fields and collections, changes and transforms
    that hold a set, functions and their closures. A wrapper has nothing to pass on.
    """
    return tuple(reachable(perturbations, lambda part: isinstance(part, PairsUsed)))


def written(used: Sequence[PairsUsed], folder: Path) -> list[dict[str, Any]]:
    """Writes the images into a folder, and returns the rest as plain values for JSON."""
    if used:
        safetensors.torch.save_file({use.purpose: use.images for use in used}, folder / FILE)
    return [{"purpose": use.purpose, "splits": list(use.splits)} for use in used]


def read(said: Sequence[dict[str, Any]], folder: Path) -> tuple[PairsUsed, ...]:
    """Reads what :func:`written` wrote; a file that is missing or corrupted is refused."""
    if not said:
        return ()
    check_readable(folder / FILE)
    try:
        images = read_tensors(folder / FILE)
        return tuple(PairsUsed(use["purpose"], tuple(use["splits"]), images[use["purpose"]]) for use in said)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / FILE} is missing or corrupted ({error!r}), so it is unknown which pairs were held out; save "
            "the set again"
        ) from error
