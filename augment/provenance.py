"""Objects as plain values, for the record of their origin in files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any


def described(thing: object, without: str = "") -> Any:
    """An object as values of JSON, except for the field `without`.

    Plain values stay; dataclasses and objects with `settings` become class and arguments; others class and, if they
    define it, ``repr`` without addresses in memory.

    Example:
        >>> from augment import SpatialChange
        >>> described(SpatialChange(rotation=10.0))["rotation"]
        10.0
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, PurePath):
        return str(thing)
    if isinstance(thing, Mapping):
        return {str(key): described(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [described(value) for value in thing]
    about: dict[str, Any] = {"class": type(thing).__name__}
    if hasattr(thing, "settings"):
        return about | described(thing.settings)
    if is_dataclass(thing):
        kept = [field.name for field in fields(thing) if field.init and field.name != without]
        return about | {name: described(getattr(thing, name)) for name in kept}
    if type(thing).__repr__ is not object.__repr__:
        about["repr"] = re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
    return about
