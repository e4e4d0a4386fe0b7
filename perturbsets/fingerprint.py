"""A short hash of all settings and weights of a method, a set or an adversary."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from augment import Perturb
from perturbsets.model_call import roots

ADDRESS = re.compile(" at 0x[0-9a-f]+")


def digest(thing: Any) -> str:
    """Sixteen hexadecimal digits that differ when a setting, a weight or a bank differs, nested ones included.

    They are the same in every process and on every device, for plain values, tensors, modules, dataclasses and other
    objects, and mappings and sequences of them.
    """
    summed = hashlib.sha256()
    for part in _parts(thing):
        summed.update(part)
    return summed.hexdigest()[:16]


def _parts(thing: Any) -> Iterator[bytes]:
    yield type(thing).__name__.encode()
    if isinstance(thing, nn.Module):
        for name, module in thing.named_modules():
            yield f"{name} {type(module).__name__}({ADDRESS.sub('', module.extra_repr())})".encode()
            if isinstance(module, Perturb):
                yield from _parts(module.perturbations)
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
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield repr(key).encode()
            yield from _parts(value)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from _parts(value)
    elif repr(thing) == object.__repr__(thing):  # it contains an address
        yield from _parts(vars(thing))
    elif inspect.isroutine(thing):
        yield f"{thing.__module__}.{thing.__qualname__}".encode()
        yield getattr(getattr(thing, "__code__", None), "co_code", b"")
        yield from _parts(thing.__self__ if inspect.ismethod(thing) else roots(thing))
    elif isinstance(thing, partial):
        yield from _parts([thing.func, thing.args, thing.keywords])
    else:
        yield repr(thing).encode()
