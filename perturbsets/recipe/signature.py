"""The arguments of a constructor, with their types and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def arguments(constructor: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Name to type and default (``...`` where there is none), as pydantic takes fields.

    Args:
        constructor: A dataclass or another class; inherited fields count.

    Returns:
        The arguments in order.
    """
    hinted = constructor if is_dataclass(constructor) else constructor.__init__  # type: ignore[misc]
    hints = get_type_hints(hinted, localns={"Iterable": Iterable})  # torch imports it for type checkers alone
    return {
        name: (hints[name], _default(constructor, parameter))
        for name, parameter in inspect.signature(constructor).parameters.items()
    }


def _default(constructor: Any, parameter: inspect.Parameter) -> Any:
    """The value of an argument that is not given, also where a dataclass makes it anew each time."""
    if parameter.default is inspect.Parameter.empty:
        return ...
    made = fields(constructor) if is_dataclass(constructor) else ()
    factory = next((field.default_factory for field in made if field.name == parameter.name), MISSING)
    return parameter.default if factory is MISSING else factory()
