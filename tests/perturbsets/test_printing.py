"""What is printed of settings and results: a line, and no tensor; and when they are equal."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cvae import SpatialCVAE
from perturbsets import (
    Adversary,
    ComposedSet,
    LatentBall,
    PixelBall,
    Worst,
    attacks,
    audit,
    bisect,
    evaluate,
    evaluate_robustness,
    find_universal,
    load,
)
from perturbsets.certificates import coverage
from perturbsets.printing import ROOM, Printed, Result
from perturbsets.recipe.registry import _public_classes
from tests.perturbsets.every_ascent import ASCENTS
from tests.perturbsets.test_product import AIMS, SETS
from tests.perturbsets.test_training import METHODS

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def results() -> dict[str, Any]:
    """One of every result of attacks and evaluations, on 60 images, and certificates."""
    x, y = torch.rand(60, 1, 4, 4), torch.arange(60) % 3
    attack, ball = attacks.bim(radius=0.1, steps=2), PixelBall("linf", torch.linspace(0, 0.1, 60))
    certificate = coverage(torch.linspace(0, 0.01, 101), torch.arange(101), share=0.9, alpha=0.05)
    return {
        "attack": attack(MODEL, x, y),
        "worst": Worst([attack, attacks.fgsm()])(MODEL, x, y),
        "smallest": bisect(attack, MODEL, x, y, largest=1.0, rounds=2),
        "universal": find_universal(PixelBall("linf", 0.1), attack.objective, MODEL, x, y),
        "robustness": evaluate_robustness(MODEL, x, y, ball, steps=2, queries=2),
        "table": evaluate({"a": MODEL, "b": MODEL}, {"clean": None, "bim": attack}, x, y),
        "cell": evaluate({"a": MODEL}, {"bim": attack}, x, y),
        "audit": audit(attack, MODEL, x, y, draws=2),
        "coverage": certificate,
    }


def settings() -> Iterator[Any]:
    """All sets, objectives, ascents and methods of the shared lists, and adversaries of many parts."""
    cvae = SpatialCVAE(latent=4, height=12, width=12)
    yield from (make(cvae) for make in SETS.values())
    yield from (aim.objective for aim in AIMS.values())
    yield from ASCENTS
    yield from METHODS
    yield from (Adversary(PixelBall("l2", torch.rand(500)), ascent=ascent) for ascent in ASCENTS)
    learned = load("digits-rts")
    yield learned
    yield Worst([Adversary(ComposedSet([learned, PixelBall("linf", 0.1)])) for _ in range(9)])
    for name, make in inspect.getmembers(attacks, inspect.isfunction):
        required = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
        if not name.startswith("_") and not required and isinstance(made := make(), Printed):
            yield made


def check(line: str) -> None:
    assert "\n" not in line
    assert "tensor(" not in line
    assert len(line) <= ROOM, line


def test_every_setting_is_one_line() -> None:
    for given in settings():
        check(repr(given))
        check(str(given))


def test_every_result_is_one_line_and_a_table_where_it_has_figures() -> None:
    for name, result in results().items():
        check(repr(result))
        assert "\n" not in str(result)
        if isinstance(result, Result):
            shown = result._repr_html_()
            assert shown.startswith("<table><tr><th>"), name
            assert shown.count("<tr>") == result.table().row_count + 1


def test_every_public_dataclass_is_printed_by_the_one_rule() -> None:
    others = {
        name
        for name, kind in _public_classes().items()
        if name.startswith("perturbsets.") and is_dataclass(kind) and not issubclass(kind, Printed)
    }
    formulas = {f"perturbsets.knowledge.{name}" for name in ("LabelIs", "And", "Or")}
    assert others == {"perturbsets.sets.PairsUsed"} | formulas  # of short texts and each other; compared as objects


def test_every_result_has_a_line_whatever_it_holds() -> None:
    kinds = [kind for kind in _public_classes().values() if issubclass(kind, Printed) and is_dataclass(kind)]
    kinds = [kind for kind in kinds if not inspect.isabstract(kind)]
    assert len(kinds) > 60
    for kind in kinds:
        hollow = object.__new__(kind)
        for field in fields(kind):
            object.__setattr__(hollow, field.name, torch.rand(60, 3, 4, 4))
        if kind.__repr__ == Printed.__repr__:
            check(repr(hollow))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (PixelBall("linf", 8 / 255), "PixelBall(norm='linf', radius=0.0313725)"),
        (PixelBall("l2", [0.5, 1.0]), "PixelBall(norm='l2', radius=[0.5, 1])"),
        (PixelBall("l2", torch.linspace(0, 1, 60)), "PixelBall(norm='l2', radius=<60, 0 to 1>)"),
        (Adversary(PixelBall("linf", 0.1)), "Adversary(perturbations=PixelBall(norm='linf', radius=0.1))"),
        (
            LatentBall(SpatialCVAE(latent=4), 3.8, bank=torch.zeros(9, 4)),
            "LatentBall(SpatialCVAE, radius 3.8 in 4 latents, images 1×28×28, bank of 9, draw 'bank')",
        ),
    ],
)
def test_lines_of_settings_name_what_differs_from_the_defaults(given: Any, line: str) -> None:
    assert repr(given) == str(given) == line


def test_lines_of_results_say_the_figure() -> None:
    made = results()
    robustness = made["robustness"]
    share, clean = 100 * robustness.accuracy.mean, 100 * robustness.clean.mean
    low, high = (100 * end for end in robustness.accuracy[1:])
    assert repr(robustness) == f"Robust accuracy {share:.1f} % [{low:.1f}, {high:.1f}] of 60, clean {clean:.1f} %"
    assert str(made["table"]) == "Accuracy of 2 models under 2 adversaries on 60 images"
    assert str(made["cell"]).startswith("Accuracy of a under bim ")
    assert repr(made["attack"]).startswith("AttackResult(60 images, ")
    assert str(made["coverage"]) == made["coverage"].sentence
    names = list(robustness.table().columns[0].cells)
    assert names == ["none", *robustness.members, "all"]


@dataclass(frozen=True)
class Held(Printed):
    """What settings and results may hold."""

    value: Any


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.tensor([True, False, True, True, False]), "<5, 3 true>"),
        (torch.tensor([[1.0, float("nan")], [2.0, 3.0]]), "<2×2, 1 to 3, 1 not finite>"),
        (torch.full((5,), float("inf")), "<5, 5 not finite>"),
        (torch.zeros(0, 3), "<0×3>"),
        (torch.zeros(7, 3, device="meta"), "<7×3>"),
        (torch.zeros(5, dtype=torch.complex64), "<5>"),
        (torch.tensor(0.25, requires_grad=True), "0.25"),
        (np.arange(12).reshape(3, 4), "<3×4, 0 to 11>"),
        (MODEL, "Sequential"),
        (torch.nn.functional.relu, "relu"),
        ({"a": torch.zeros(9), "b": 1 / 3}, "{'a': <9, 0 to 0>, 'b': 0.333333}"),
        (list(range(100)), "[100 entries]"),
        ("a\nb", r"'a\nb'"),
        (object(), "object"),
    ],
)
def test_words_of_values(value: Any, words: str) -> None:
    assert repr(Held(value)) == f"Held(value={words})"


def test_settings_with_tensors_are_equal_where_their_numbers_are() -> None:
    one, other = (PixelBall("linf", [0.1, 0.2]) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != PixelBall("linf", [0.1, 0.3])
    assert one != PixelBall("linf", 0.1)
    assert one != "linf"
    assert Adversary(one) == Adversary(other) != Adversary(replace(one, norm="l2"))
    assert Held({"a": torch.ones(2)}) == Held({"a": torch.ones(2)}) != Held({"a": torch.ones(2).double()})
    assert Held([np.ones(2)]) == Held([np.ones(2)]) != Held((np.ones(2),))
    assert len({one, other}) == 1
