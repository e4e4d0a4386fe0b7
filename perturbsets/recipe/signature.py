"""The arguments of a constructor, with their types and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_type_hints


def arguments(constructor: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Name to type and default (``...`` where there is none), as pydantic takes fields.

    Args:
        constructor: A dataclass or another class; inherited fields count.

    Returns:
        The arguments in order.
    """
    hints = get_type_hints(constructor if is_dataclass(constructor) else constructor.__init__)  # type: ignore[misc]
    return {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(constructor).parameters.items()
    }
