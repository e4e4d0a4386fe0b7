"""The stages of a run: their order and commands, what they read and what they write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        reads: The sections of the recipe, or keys within them, that its results depend on, beside ``seed``.
        after: The stages whose results it reads.
        writes: Its results in the run folder.
        shared: Whether every process takes part, and a repeated command keeps what is finished; otherwise the first
            process does the work alone, and anew.
    """

    name: str
    module: Literal["stages", "analyses"]
    needs: Callable[[Sections], bool]
    help: str
    reads: tuple[str, ...]
    after: tuple[str, ...]
    writes: tuple[str, ...]
    shared: bool = False


def _has(*names: str) -> Callable[[Sections], bool]:
    """Whether a recipe has one of these sections."""
    return lambda sections: any(sections.get(name) is not None for name in names)


def _makes_pairs(sections: Sections) -> bool:
    """Whether pairs are asked for or a model needs them, unless the recipe names a pair file."""
    pairs = sections.get("pairs")
    named = isinstance(pairs, Mapping) and pairs.get("path") is not None
    return not named and (pairs is not None or sections.get("model") is not None)


_SETS = ("sets", "change", "unseen", "learned")
_NETWORKS = ("source", "classifier", "train", "seeds", *_SETS)
_TABLE = (
    Stage(
        "pairs",
        "stages",
        _makes_pairs,
        "Make or collect pairs of clean and changed images, and store them.",
        reads=("source", "change", "unseen", "pairs"),
        after=(),
        writes=("pairs.h5", "pairs.json"),
    ),
    Stage(
        "fit",
        "stages",
        _has("model"),
        "Fit the CVAE to the pairs and save the learned set.",
        reads=("pairs.path", "model", "fit", "set"),
        after=("pairs",),
        writes=("fit", "set"),
        shared=True,
    ),
    Stage(
        "check",
        "stages",
        _has("model"),
        "Measure the criteria of the learned set on test pairs.",
        reads=("check",),
        after=("fit",),
        writes=("checks",),
    ),
    Stage(
        "auxiliary",
        "stages",
        _has("auxiliary"),
        "Train and measure the auxiliary classifier.",
        reads=("auxiliary", *_NETWORKS),
        after=("fit",),
        writes=("auxiliary",),
        shared=True,
    ),
    Stage(
        "train",
        "stages",
        _has("classifiers"),
        "Train every classifier of the recipe.",
        reads=("classifiers", "schedule", "validation", *_NETWORKS),
        after=("fit", "auxiliary"),
        writes=("classifiers",),
        shared=True,
    ),
    Stage(
        "evaluate",
        "analyses",
        _has("classifiers", "trained"),
        "Evaluate every classifier under every adversary.",
        reads=("source", "trained", "seeds", "adversaries", "evaluate", "check.overapproximation", *_SETS),
        after=("fit", "train"),
        writes=("evaluation",),
    ),
    Stage(
        "certify",
        "analyses",
        _has("certify"),
        "Certify the set on held-out pairs, and votes under noise.",
        reads=("source", "trained", "certify", "pairs.path", *_SETS),
        after=("fit", "train"),
        writes=("certificates",),
    ),
    Stage(
        "representations",
        "analyses",
        _has("representations"),
        "Attack and measure a network's representations.",
        reads=("source", "trained", "representations", *_SETS),
        after=("fit", "train"),
        writes=("representations",),
    ),
    Stage(
        "labels",
        "analyses",
        _has("labels"),
        "Attack the auxiliary classifier's labels, and detect attacks by rules.",
        reads=("source", "trained", "adversaries", "labels", *_SETS),
        after=("fit", "auxiliary", "train"),
        writes=("labels",),
    ),
    Stage(
        "report",
        "analyses",
        lambda sections: True,
        "Write report.html from the contents of the run folder.",
        reads=(),
        after=("pairs", "fit", "check", "auxiliary", "train", "evaluate", "certify", "representations", "labels"),
        writes=("report.html",),
    ),
)
STAGES = {stage.name: stage for stage in _TABLE}
"""All stages in order, by name."""


def planned(sections: Sections) -> list[str]:
    """Names of the stages that a recipe calls for, in order.

    Args:
        sections: The recipe's sections as plain values.
    """
    return [name for name, stage in STAGES.items() if stage.needs(sections)]


def depending(names: Iterable[str] = (), keys: Iterable[str] = ()) -> list[str]:
    """Names of the stages whose results depend on some stages, these included, or on some keys of a recipe, in order.

    Args:
        names: Names of stages.
        keys: Keys that lead to a value: ``"check.necessary.steps"``.
    """
    found, keys = set(names), [f"{key}." for key in keys]
    for name, stage in STAGES.items():
        read = [f"{one}." for one in ("seed", *stage.reads)]
        within = any(key.startswith(one) or one.startswith(key) for key in keys for one in read)
        if within or found.intersection(stage.after):
            found.add(name)
    return [name for name in STAGES if name in found]
