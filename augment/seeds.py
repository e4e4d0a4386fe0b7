"""Seeds as parameters: two columns of whole numbers, which float32 holds exactly, for each seed of 48 bits."""

from __future__ import annotations

import torch

from augment._types import Parameters, Seeds

NAMES = ("seed_high", "seed_low")
"""Names of the two columns."""

_BITS = 24


def to_columns(seeds: Seeds) -> Parameters:
    """The columns of seeds.

    Example:
        >>> to_columns(torch.tensor([16777221]))
        tensor([[1., 5.]])
    """
    return torch.stack([seeds >> _BITS, seeds & ((1 << _BITS) - 1)], 1).float()


def from_columns(columns: Parameters) -> Seeds:
    """The seeds of two columns.

    Raises:
        ValueError: If rows are no pairs of whole numbers of 24 bits.

    Example:
        >>> from_columns(torch.tensor([[1.0, 5.0]]))
        tensor([16777221])
    """
    whole = columns.shape[1] == len(NAMES) and bool(
        ((columns == columns.round()) & (columns >= 0) & (columns < 1 << _BITS)).all()
    )
    if not whole:
        raise ValueError(f"parameters must be the columns {NAMES} of whole numbers below 2^{_BITS}: use `draw`")
    high, low = columns.long().unbind(1)
    return (high << _BITS) + low
