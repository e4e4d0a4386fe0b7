"""Guessed names and keywords, answered with ours; nothing heavy is imported for it."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

OTHER_NAMES = {
    "auto_attack": "autoattack",
    "cw": "carlini_wagner",
    "ffgsm": "r_fgsm",
    "ifgsm": "bim",
    "rotation": "spatial",
}
"""Names under which other libraries have attacks of ours."""

OTHER_KEYWORDS = {
    "radius": ("eps", "epsilon", "epsilons", "eps_max", "magnitude"),
    "step_size": ("alpha", "stepsize", "eps_iter", "eps_step", "rel_stepsize", "abs_stepsize", "lr"),
    "steps": ("iters", "iterations", "nb_iter", "n_iter", "num_steps", "num_iter", "max_iter", "n_steps"),
    "restarts": ("n_restarts", "num_restarts", "random_restarts", "num_random_init"),
    "queries": ("n_queries", "num_queries", "max_queries"),
    "norm": ("p", "ord", "order"),
}
"""Our keywords of attacks, and those of other libraries."""

Given = ParamSpec("Given")
Made = TypeVar("Made")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, if one is like it; upper and lower case and underscores do not count."""
    ours = {_plain(each): each for each in names}
    meant = ours.get(_plain(OTHER_NAMES.get(name.lower(), name)))
    return meant or next((ours[near] for near in difflib.get_close_matches(_plain(name), ours)), None)


def exported(package: Path) -> dict[str, str]:
    """Public names of the packages inside a package, each to where it is: ``{"pgd": "attacks.pgd"}``."""
    found: dict[str, str] = {}
    for file in sorted(package.glob("*/__init__.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package.name):
                found |= {alias.name: f"{file.parent.name}.{alias.name}" for alias in node.names}
    return found


def answering(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Makes a function answer wrong arguments with the right keyword, and how it is called."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def answered(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function.__name__}: {error}: {_advice(signature, args, kwargs)}") from None
        return function(*args, **kwargs)

    return answered


def _advice(signature: inspect.Signature, args: Iterable[object], kwargs: Iterable[str]) -> str:
    names = list(signature.parameters)
    foreign = {other: ours for ours, others in OTHER_KEYWORDS.items() for other in others if ours in names}
    for name in kwargs:
        if name not in names:
            meant = foreign.get(name.lower()) or nearest(name, names)
            return f"did you mean {meant}=" if meant else f"it takes {', '.join(names)}"
    if any(callable(each) for each in args):
        return "it makes an attack, which is then called with (model, images, labels)"
    return f"it takes {', '.join(names)}, by keyword"


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
