"""Which stages the sections of a recipe call for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAGES = (
    "pairs",
    "fit",
    "check",
    "auxiliary",
    "train",
    "evaluate",
    "certify",
    "representations",
    "labels",
    "report",
)
"""All stages in order, by the name of their command."""


def planned(content: Mapping[str, Any]) -> list[str]:
    """The stages of a recipe, in order.

    Pairs are made where a model is to learn from them, or where they have a section, unless that names a file that is
    there already. A model is fitted and checked, classifiers are trained and judged; those of another run are judged.
    An auxiliary classifier is trained, certificates are given, and representations and labels looked at, where they
    have a section.

    Args:
        content: The recipe's sections as plain values.

    Returns:
        Names among :data:`STAGES`.
    """
    model, pairs = content.get("model") is not None, content.get("pairs")
    there = isinstance(pairs, Mapping) and pairs.get("path") is not None
    trains = bool(content.get("classifiers"))
    wanted = {
        "pairs": (model or pairs is not None) and not there,
        "fit": model,
        "check": model,
        "auxiliary": content.get("auxiliary") is not None,
        "train": trains,
        "evaluate": trains or content.get("trained") is not None,
        "certify": content.get("certify") is not None,
        "representations": content.get("representations") is not None,
        "labels": content.get("labels") is not None,
        "report": True,
    }
    return [name for name in STAGES if wanted[name]]
