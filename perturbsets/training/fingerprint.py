"""A short name for everything that a training method is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


def digest(thing: Any) -> str:
    """Sixteen hexadecimal digits that differ when a setting, a weight or a bank differs.

    Args:
        thing: A dataclass of plain values, tensors, modules, other dataclasses, and lists of all these.

    Returns:
        The digits, the same in every process and on every device.
    """
    summed = hashlib.sha256()
    for part in _parts(thing):
        summed.update(part)
    return summed.hexdigest()[:16]


def _parts(thing: Any) -> Iterator[bytes]:
    yield type(thing).__name__.encode()
    if isinstance(thing, nn.Module):
        for name, tensor in thing.state_dict().items():
            yield name.encode()
            yield from _parts(tensor)
    elif isinstance(thing, Tensor):
        yield f"{thing.dtype} {list(thing.shape)}".encode()
        yield thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif is_dataclass(thing):
        for field in fields(thing):
            yield field.name.encode()
            yield from _parts(getattr(thing, field.name))
    elif isinstance(thing, list | tuple):
        for member in thing:
            yield from _parts(member)
    else:
        yield repr(thing).encode()
