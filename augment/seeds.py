"""Seeds as parameters: what lets a pipeline that draws for itself be stored and replayed."""

from __future__ import annotations

import torch

from augment._types import Parameters

NAMES = ("seed_high", "seed_low")
_BITS = 24  # whole numbers of 24 bits are exact in float32


def draw_seeds(count: int, *, generator: torch.Generator | None = None) -> Parameters:
    """Draws `count` seeds of 48 bits, each as two whole numbers of 24 bits."""
    device = None if generator is None else generator.device
    return torch.randint(1 << _BITS, (count, len(NAMES)), generator=generator, device=device).float()


def read_seeds(parameters: Parameters) -> list[int]:
    """The seeds of rows of parameters.

    Raises:
        ValueError: If rows are no pairs of whole numbers of 24 bits.

    Example:
        >>> read_seeds(torch.tensor([[1.0, 5.0]]))
        [16777221]
    """
    whole = parameters.shape[1] == len(NAMES) and bool(
        ((parameters == parameters.round()) & (parameters >= 0) & (parameters < 1 << _BITS)).all()
    )
    if not whole:
        raise ValueError(f"parameters must be the columns {NAMES} of whole numbers below 2^{_BITS}: use `draw`")
    return [(int(high) << _BITS) + int(low) for high, low in parameters.tolist()]
