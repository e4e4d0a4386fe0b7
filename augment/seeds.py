"""48-bit seeds as parameters: two columns of 24-bit whole numbers, which float32 represents exactly."""

from __future__ import annotations

import torch

from augment._types import Parameters, Seeds

NAMES = ("seed_high", "seed_low")

_BITS = 24


def to_columns(seeds: Seeds) -> Parameters:
    """Seeds as two columns.

    Example:
        >>> to_columns(torch.tensor([16777221]))
        tensor([[1., 5.]])
    """
    return torch.stack([seeds >> _BITS, seeds & ((1 << _BITS) - 1)], 1).float()


def from_columns(columns: Parameters) -> Seeds:
    """Seeds from their two columns.

    Raises:
        ValueError: If there are other columns, or other numbers than whole ones of 24 bits.

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
