"""The arguments of a constructor, with their types and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
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
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(constructor).parameters.items()
    }
