"""The stages of a run: their order, their commands, and the recipe sections that call for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Sections = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage, with the help of its command."""

    name: str  # of its command and of its function
    module: Literal["stages", "analyses"]  # of its function, in perturbsets.runs
    needs: Callable[[Sections], bool]  # whether a recipe's sections, as plain values, call for it
    help: str
    shared: bool = False  # whether every process takes part; otherwise the first one does the work alone


def _has(*names: str) -> Callable[[Sections], bool]:
    """Whether a recipe has one of these sections."""
    return lambda sections: any(sections.get(name) is not None for name in names)


def _makes_pairs(sections: Sections) -> bool:
    """Whether pairs are asked for or a model needs them, unless the recipe names a pair file."""
    pairs = sections.get("pairs")
    named = isinstance(pairs, Mapping) and pairs.get("path") is not None
    return not named and (pairs is not None or sections.get("model") is not None)


_TABLE = (
    Stage("pairs", "stages", _makes_pairs, "Make or collect pairs of clean and changed images, and store them."),
    Stage("fit", "stages", _has("model"), "Fit the CVAE to the pairs and save the learned set.", shared=True),
    Stage("check", "stages", _has("model"), "Measure the criteria of the learned set on test pairs."),
    Stage("auxiliary", "stages", _has("auxiliary"), "Train and measure the auxiliary classifier.", shared=True),
    Stage("train", "stages", _has("classifiers"), "Train every classifier of the recipe.", shared=True),
    Stage("evaluate", "analyses", _has("classifiers", "trained"), "Evaluate every classifier under every adversary."),
    Stage("certify", "analyses", _has("certify"), "Certify the set on held-out pairs, and votes under noise."),
    Stage("representations", "analyses", _has("representations"), "Attack and measure a network's representations."),
    Stage(
        "labels", "analyses", _has("labels"), "Attack the auxiliary classifier's labels, and detect attacks by rules."
    ),
    Stage("report", "analyses", lambda sections: True, "Write report.html from the contents of the run folder."),
)
STAGES = {stage.name: stage for stage in _TABLE}
"""All stages in order, by name."""


def planned(sections: Sections) -> list[str]:
    """Names of the stages that a recipe, given as plain values, calls for, in order."""
    return [name for name, stage in STAGES.items() if stage.needs(sections)]
