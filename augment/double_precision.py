"""Double precision on the CPU for devices without it, such as Apple's GPUs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def double_device(device: torch.device) -> torch.device:
    """The device on which to compute in float64: the given one, or the CPU if that has no float64."""
    try:
        return (torch.ones(1, dtype=torch.float64, device=device) + 1).device
    except torch.OutOfMemoryError:
        raise  # not cached: memory may be free next time
    except (TypeError, RuntimeError):
        return torch.device("cpu")


def in_double(values: Tensor) -> Tensor:
    """Values in float64, on the CPU if their device has none; the way back is ``result.to(values)``.

    Example:
        >>> in_double(torch.ones(2)).dtype
        torch.float64
    """
    return values.to(double_device(values.device), torch.float64)
