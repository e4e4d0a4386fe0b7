"""Looking into the plain values of a recipe, any of which may be faulty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A section, or nothing where there is none or it is no mapping."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def listed(content: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list, or nothing where there is none."""
    given = content.get(key)
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def unmet_classifier(content: Mapping[str, Any], place: str, key: str, wanted: Any) -> Iterator[str]:
    """The name of a classifier that is neither trained here nor in another run.

    Args:
        content: The recipe's sections.
        place: The section that names it.
        key: Where in that section.
        wanted: The name.
    """
    own = content.get("classifiers")
    if own is None and content.get("trained") is None:
        yield f"{place} must come with classifiers, trained here or in the run `trained`, got none"
    elif isinstance(own, dict) and isinstance(wanted, str) and wanted not in own:
        yield f"{place}.{key} must be one of {sorted(map(str, own))}, got {wanted!r}"
