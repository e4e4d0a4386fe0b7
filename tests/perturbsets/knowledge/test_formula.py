"""Formulas, held against Python's own reading of them and against plain arithmetic."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from perturbsets.knowledge.formula import (
    And,
    Formula,
    LabelIs,
    Or,
    labels_of,
    log_truth,
    negated,
    read_formula,
    renamed,
)
from perturbsets.knowledge.logic import holds, implies, satisfiable

NAMES = "abcd"
PATTERNS = [dict(zip(NAMES, states, strict=True)) for states in itertools.product((False, True), repeat=len(NAMES))]
TEXTS = st.recursive(
    st.sampled_from(NAMES),
    lambda part: st.one_of(
        part.map(lambda one: f"not ({one})"),
        st.lists(part, min_size=2, max_size=3).map(lambda parts: " and ".join(f"({each})" for each in parts)),
        st.lists(part, min_size=2, max_size=3).map(lambda parts: " or ".join(f"({each})" for each in parts)),
    ),
    max_leaves=8,
)

LONG_TEXTS = st.recursive(
    st.sampled_from([*NAMES, *(f"not {name}" for name in NAMES)]),
    lambda part: st.tuples(st.sampled_from([" and ", " or "]), st.lists(part, min_size=2, max_size=4)).map(
        lambda both: f"({both[0].join(both[1])})"
    ),
    max_leaves=40,
)


def by_python(text: str, states: dict[str, Any]) -> bool:
    return bool(eval(text, {}, states))


def truth(formula: Formula, logits: Tensor) -> Tensor:
    def log_probability(leaf: LabelIs) -> Tensor:
        column = logits[:, NAMES.index(leaf.label)]
        return F.logsigmoid(column if leaf.on else -column)

    return log_truth(formula, log_probability)


def logits_of(states: list[dict[str, bool]], size: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor([[size if row[name] else -size for name in NAMES] for row in states], dtype=dtype)


def plain(formula: Formula, probabilities: dict[str, float]) -> float:
    """The product t-norm as it is written."""
    if isinstance(formula, LabelIs):
        return probabilities[formula.label] if formula.on else 1 - probabilities[formula.label]
    product = 1.0
    for part in formula.parts:
        each = plain(part, probabilities)
        product *= each if isinstance(formula, And) else 1 - each
    return product if isinstance(formula, And) else 1 - product


@given(TEXTS)
def test_every_pattern_means_what_it_means_to_python(text: str) -> None:
    formula = read_formula(text)
    expected = [by_python(text, states) for states in PATTERNS]

    for asked, wanted in ((formula, expected), (negated(formula), [not each for each in expected])):
        leaves = [{LabelIs(label, on) for label, on in states.items()} for states in PATTERNS]
        assert [holds(asked, held.__contains__) for held in leaves] == wanted
        for dtype in (torch.float32, torch.float64):
            logits = logits_of(PATTERNS, 200.0, dtype).requires_grad_()
            logarithms = truth(asked, logits)
            (gradient,) = torch.autograd.grad(logarithms.sum(), logits)
            assert logarithms.detach().exp().round(decimals=6).tolist() == [float(each) for each in wanted]
            assert logarithms.isfinite().all()
            assert gradient.isfinite().all()
    assert read_formula(str(formula)) == formula
    assert satisfiable(formula) is any(expected)


@given(TEXTS, TEXTS)
def test_what_implies_what_is_what_python_finds(first: str, second: str) -> None:
    expected = all(by_python(second, states) for states in PATTERNS if by_python(first, states))
    assert implies(read_formula(first), read_formula(second)) is expected


@settings(max_examples=200)
@given(LONG_TEXTS, LONG_TEXTS)
def test_long_formulas_of_few_labels_are_searched_as_python_would(first: str, second: str) -> None:
    met, also = ([by_python(text, states) for states in PATTERNS] for text in (first, second))

    assert satisfiable(read_formula(first)) is any(met)
    assert implies(read_formula(first), read_formula(second)) is (not any(np.array(met) & ~np.array(also)))


@given(st.lists(st.tuples(*[st.sampled_from([*NAMES, *(f"not {name}" for name in NAMES)])] * 3), min_size=1))
def test_sets_of_clauses_are_met_where_python_meets_them(clauses: list[tuple[str, str, str]]) -> None:
    """With 4 labels and clauses of 3, many cannot be met, and none for a reason that one label shows."""
    text = " and ".join(f"({' or '.join(clause)})" for clause in clauses)

    assert satisfiable(read_formula(text)) is any(by_python(text, states) for states in PATTERNS)


@given(TEXTS, st.lists(st.floats(-6, 6), min_size=4, max_size=4))
def test_truth_is_the_product_t_norm(text: str, values: list[float]) -> None:
    formula, logits = read_formula(text), torch.tensor([values], dtype=torch.float64)
    probabilities = dict(zip(NAMES, logits.sigmoid()[0].tolist(), strict=True))

    assert_close(truth(formula, logits).exp().item(), plain(formula, probabilities), rtol=1e-9, atol=1e-12)


def test_truth_is_the_probability_where_each_label_is_named_once() -> None:
    text, logits = "(a and not b) or not (c or d)", torch.randn(5, 4, dtype=torch.float64)
    on = logits.sigmoid()
    met = torch.zeros(5, dtype=torch.float64)
    for states in PATTERNS:
        if by_python(text, states):
            flags = torch.tensor([states[name] for name in NAMES])
            met += torch.where(flags, on, 1 - on).prod(1)

    assert_close(truth(read_formula(text), logits).exp(), met)


def test_nothing_cancels_where_truth_is_nearly_certain() -> None:
    """The falsity of "a and b" at logits of 50 is 2 e^-50, which 1 minus the truth loses, in double precision too."""
    logits = torch.full((1, 4), 50.0)

    assert_close(truth(read_formula("not (a and b)"), logits), torch.tensor([-50.0]) + torch.tensor(2.0).log())


@pytest.mark.parametrize("size", [0.0, 30.0, 100.0, 200.0])
def test_gradients_are_those_of_double_precision(size: float) -> None:
    formula = read_formula("(a and b and not c) or (not a and d) or not (b and d)")
    found = []
    for dtype in (torch.float32, torch.float64):
        logits = logits_of(PATTERNS, size, dtype).requires_grad_()
        found.append(torch.autograd.grad(truth(formula, logits).sum(), logits)[0])

    assert_close(found[0].double(), found[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "a"),
        ("not not a", "a"),
        ("a and b or c", "(a and b) or c"),
        ("not (a or b and c)", "not a and (not b or not c)"),
        ("a\n  and b\n", "a and b"),
    ],
)
def test_formulas_are_read_as_python_reads_them(text: str, shown: str) -> None:
    assert str(read_formula(text)) == shown


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("a &  b", "'a & b'"),
        ("a and", "'a and'"),
        ("", "''"),
        ("a and 1", "'1'"),
        ("not True", "'True'"),
        ("a if b else c", "'a if b else c'"),
        ("f(a) or b", "'f(a)'"),
        ("AU 1", "'AU 1'"),
        ("(" * 1000 + "a" + ")" * 1000, "'((((("),
        ("not " * 20000 + "a", "'not not"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, got: str) -> None:
    with pytest.raises(ValueError, match="a formula must be names of labels joined by and, or, not") as error:
        read_formula(text)
    assert got in str(error.value)


def test_labels_are_named_once_and_can_be_renamed() -> None:
    formula = read_formula("(b and a) or (not b and c)")

    assert labels_of(formula) == ("b", "a", "c")
    assert str(renamed(formula, {"b": "z"})) == "(z and a) or (not z and c)"


def test_unknown_states_are_weighed_one_by_one() -> None:
    is_known = {LabelIs("a")}.__contains__

    assert holds(read_formula("a or b"), is_known)
    assert not holds(read_formula("a and b"), is_known)
    assert not holds(negated(read_formula("a and b")), is_known)
    assert not holds(read_formula("b or not b"), is_known)


def test_long_rules_are_compared_at_once() -> None:
    """Lists of 60 labels have 2^60 patterns."""
    names = [f"x{number}" for number in range(60)]
    every, some = And(tuple(map(LabelIs, names))), Or(tuple(map(LabelIs, names)))

    assert implies(every, some)
    assert not implies(some, every)


@pytest.mark.parametrize("count", [6, 24])
def test_rules_of_many_alternatives_are_compared_at_once(count: int) -> None:
    """Where labels are tried one after the other, 6 alternatives of 3 labels take 20 seconds, and each more 7 times."""
    triples = [[f"{letter}{number}" for letter in "abc"] for number in range(count)]
    special, general = (
        read_formula(" or ".join(f"({' and '.join(names[:width])})" for names in triples)) for width in (3, 2)
    )
    clauses, stricter = (
        read_formula(" and ".join(f"({' or '.join(names[:width])})" for names in triples)) for width in (3, 2)
    )

    begun = time.process_time()
    assert implies(special, general)
    assert not implies(general, special)
    assert implies(stricter, clauses)
    assert not implies(clauses, stricter)
    assert time.process_time() - begun < 2
