"""Trying whether a constructor takes its arguments, and saying all that it does not take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def try_constructor(constructor: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Builds an object and throws it away.

    A constructor may stop at the first argument it refuses. So the guilty argument, without which it would say
    something else, is left to its default, until the others are accepted or none can be left out.

    Args:
        constructor: A class.
        arguments: Its arguments.

    Raises:
        ValueError: With every reason.
    """
    rest, reasons = dict(arguments), list[str]()
    while (reason := _refusal(constructor, rest)) is not None:
        reasons.append(reason)
        guilty = [name for name in rest if _refusal(constructor, _without(rest, name)) != reason]
        if not guilty:
            break
        rest = _without(rest, guilty[0])
    if reasons:
        raise ValueError("; ".join(reasons))


def _refusal(constructor: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Why a constructor refuses its arguments; a missing one is no news here."""
    try:
        constructor(**arguments)
    except ValueError as error:
        return str(error)
    except TypeError:
        return None
    return None


def _without(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != name}
