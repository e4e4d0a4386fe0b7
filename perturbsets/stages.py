"""The stages of a run: their order, their commands, and the recipe sections that call for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Sections = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        name: Name of its command and of its function.
        module: Module of its function in ``perturbsets.runs``.
        needs: Whether a recipe's sections, as plain values, call for it.
        help: The command's help.
        shared: Whether every process takes part; otherwise the first one does the work alone.
    """

    name: str
    module: Literal["stages", "analyses"]
    needs: Callable[[Sections], bool]
    help: str
    shared: bool = False


def _has(*names: str) -> Callable[[Sections], bool]:
    """Whether a recipe has one of these sections."""
    return lambda sections: any(sections.get(name) is not None for name in names)


def _makes_pairs(sections: Sections) -> bool:
    """Whether pairs are asked for or a model needs them, unless the recipe names a pair file."""
    pairs = sections.get("pairs")
    named = isinstance(pairs, Mapping) and pairs.get("path") is not None
    return not named and (pairs is not None or sections.get("model") is not None)


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "pairs",
            "stages",
            _makes_pairs,
            "Make pairs of clean and changed images, or collect them from files, and store them in pairs.h5.",
        ),
        Stage(
            "fit",
            "stages",
            _has("model"),
            "Fit the CVAE to the pairs and save the learned set; an interrupted fit continues.",
            shared=True,
        ),
        Stage(
            "check",
            "stages",
            _has("model"),
            "Measure on test pairs whether the set contains the changes that it should, and little else.",
        ),
        Stage(
            "auxiliary",
            "stages",
            _has("auxiliary"),
            "Train the auxiliary multi-label classifier and measure it.",
            shared=True,
        ),
        Stage("train", "stages", _has("classifiers"), "Train every classifier of the recipe.", shared=True),
        Stage(
            "evaluate",
            "analyses",
            _has("classifiers", "trained"),
            "Measure every classifier under every adversary, on test images.",
        ),
        Stage(
            "certify",
            "analyses",
            _has("certify"),
            "Certify the set from held-out pairs, and classifiers by votes under noise.",
        ),
        Stage(
            "representations",
            "analyses",
            _has("representations"),
            "Attack a network's inner representations, and measure how natural the resulting ones are.",
        ),
        Stage(
            "labels",
            "analyses",
            _has("labels"),
            "Attack the auxiliary classifier's labels, and detect attacks by rules between labels and classes.",
        ),
        Stage("report", "analyses", lambda sections: True, "Write report.html from the contents of the run folder."),
    )
}
"""All stages in order, by name."""


def planned(sections: Sections) -> list[str]:
    """Names of the stages that a recipe calls for, in order.

    Args:
        sections: The recipe's sections as plain values.
    """
    return [name for name, stage in STAGES.items() if stage.needs(sections)]
