"""Everything that an object refers to, so that no wrapper has to pass on what it holds."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor

FOREIGN = {"torch", "torchvision", "numpy"}  # libraries whose functions refer to nothing of the user's


def reachable(given: Any, is_wanted: Callable[[Any], bool]) -> Iterator[Any]:
    """What an object is made of, as far as it is wanted, each thing once.

    Attributes, slots, items of collections, and what functions, methods and ``partial`` enclose or name are followed;
    what is wanted is not taken apart itself.

    Args:
        given: Anything.
        is_wanted: Tells what to yield.
    """
    waiting, seen = deque([given]), {id(given): given}  # kept alive: no number comes twice
    while waiting:
        part = waiting.popleft()
        if is_wanted(part):
            yield part
            continue
        new = {id(each): each for each in _parts(part) if id(each) not in seen}
        seen |= new
        waiting.extend(new.values())


def _parts(given: Any) -> Iterator[Any]:
    """What an object refers to, one level down."""
    if isinstance(given, type | ModuleType | Tensor | str | bytes):
        return
    if isinstance(given, Mapping):
        yield from given.values()
    elif isinstance(given, list | tuple | set | frozenset):
        yield from given
    elif isinstance(given, partial):
        yield from (given.func, *given.args, *given.keywords.values())
    elif isinstance(given, MethodType):
        yield from (given.__self__, given.__func__)
    elif isinstance(given, FunctionType):
        if (given.__module__ or "").partition(".")[0] in FOREIGN:
            return
        yield from given.__defaults__ or ()
        for cell in given.__closure__ or ():
            with suppress(ValueError):  # what it refers to is not there yet
                yield cell.cell_contents
        with suppress(ValueError):
            yield from inspect.getclosurevars(given).globals.values()
    yield from getattr(given, "__dict__", {}).values()
    for kind in type(given).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        yield from (getattr(given, name) for name in names if hasattr(given, name))
