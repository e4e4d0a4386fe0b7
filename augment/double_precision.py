"""Double precision where a device lacks it, as Apple's GPUs do: on the CPU."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def double_device(device: torch.device) -> torch.device:
    """Where to compute in float64 what comes from a device: there, or on the CPU if it cannot."""
    try:
        return (torch.ones(1, dtype=torch.float64, device=device) + 1).device
    except torch.OutOfMemoryError:
        raise  # and ask again next time
    except (TypeError, RuntimeError):
        return torch.device("cpu")


def in_double(values: Tensor) -> Tensor:
    """Values in float64, on the CPU if their device has no such numbers; to go back: ``found.to(values)``.

    Example:
        >>> in_double(torch.ones(2)).dtype
        torch.float64
    """
    return values.to(double_device(values.device), torch.float64)
