"""Rules: tables, evidence, competition, consistency, violation, and what is refused."""

from __future__ import annotations

import functools
import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from perturbsets import share_interval
from perturbsets.fingerprint import digest
from perturbsets.knowledge import BoundRules, Rules

NAN = float("nan")
CLASSES = ["Angry", "Contempt", "Disgust", "Fear", "Happy", "Sad", "Surprise"]
DISPLAY = ["abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg"]


@functools.cache
def ck() -> BoundRules:
    rules = Rules.builtin("ck+")
    return rules.bind(list(reversed(rules.labels)), CLASSES)


@functools.cache
def emfacs() -> BoundRules:
    rules = Rules.builtin("emfacs")
    return rules.bind(rules.labels, CLASSES)


@functools.cache
def digits() -> BoundRules:
    return Rules.builtin("segments").bind(list("gfedcba"), [str(digit) for digit in range(10)])


def pattern(rules: BoundRules, *on: str) -> Tensor:
    return torch.tensor([[float(label in on) for label in rules.labels]])


def all_patterns(rules: BoundRules) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(rules.labels))))


def sure(states: Tensor, size: float = 200.0) -> Tensor:
    return size * (2 * states - 1)


def ck_by_hand(au: set[int]) -> dict[str, bool]:
    return {
        "Angry": {23, 24} <= au,
        "Contempt": 14 in au,
        "Disgust": 9 in au or 10 in au,
        "Fear": {1, 2, 4} <= au,
        "Happy": 12 in au,
        "Sad": {1, 4, 15} <= au or 11 in au,
        "Surprise": ({1, 2} <= au or 5 in au) and not {1, 2, 4} <= au,
    }


def test_the_table_of_ck_is_the_published_one_for_every_pattern() -> None:
    rules = ck()
    states = all_patterns(rules)
    numbers = [int(label.removeprefix("AU")) for label in rules.labels]
    by_hand = []
    for row in states.tolist():
        held = ck_by_hand({number for number, on in zip(numbers, row, strict=True) if on})
        by_hand.append([held[name] for name in CLASSES])
    expected = torch.tensor(by_hand)

    assert len(states) == 4096
    assert torch.equal(rules.evidence(sure(states)).exp().round() == 1, expected)
    alone = expected.sum(1) == 1
    assert torch.equal(rules.classify(states), torch.where(alone, expected.long().argmax(1), -1))
    assert rules.implications == (("Fear", "Surprise"),)


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("Angry", "4 5 7 23"),
        ("Disgust", "9 15 16"),
        ("Fear", "1 2 4 5 7 20 26"),
        ("Happy", "6 12"),
        ("Sad", "1 4 15"),
        ("Surprise", "1 2 5B 26"),
        ("Contempt", "R12A R14A"),
    ],
)
def test_the_table_of_emfacs_is_a_list_of_units(name: str, units: str) -> None:
    bound = emfacs()
    states = pattern(bound, *(f"AU{unit}" for unit in units.split()))

    assert CLASSES[int(bound.classify(states))] == name
    for label in states[0].nonzero():
        one_less = states.clone()
        one_less[0, label] = 0
        assert bound.met(one_less)[0, CLASSES.index(name)] == 0


def test_plain_units_replace_those_with_intensity_where_data_lack_them() -> None:
    plain = [f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 12, 14, 15, 16, 20, 23, 26)]
    rules = Rules.builtin("emfacs").bind(plain, CLASSES)

    assert CLASSES[int(rules.classify(pattern(rules, "AU12", "AU14")))] == "Contempt"
    assert CLASSES[int(rules.classify(pattern(rules, "AU1", "AU2", "AU5", "AU26")))] == "Surprise"
    assert rules.implications == (("Fear", "Surprise"),)  # AU5B does not follow from AU5, but AU5 does
    with_one = Rules.builtin("emfacs").bind([*plain, "AU5B"], CLASSES)
    assert with_one.implications == ()
    assert with_one.met(pattern(with_one, "AU1", "AU2", "AU5", "AU26"))[0, CLASSES.index("Surprise")] == 0


def test_segments_are_those_of_the_display() -> None:
    rules = digits()
    states = torch.cat([pattern(rules, *lit) for lit in DISPLAY])

    assert rules.classify(states).tolist() == list(range(10))
    assert torch.equal(rules.met(states), torch.eye(10))
    assert rules.implications == ()
    others = torch.tensor([row for row in all_patterns(rules).tolist() if row not in states.tolist()])
    assert len(others) == 118
    assert (rules.classify(others) == -1).all()


def test_rules_of_lit_segments_alone_are_all_met_by_8() -> None:
    lit = {str(digit): " and ".join(segments) for digit, segments in enumerate(DISPLAY)}
    rules = Rules(tuple("abcdefg"), lit).bind("abcdefg", list(lit))
    states = torch.cat([pattern(rules, *segments) for segments in DISPLAY])

    assert rules.met(states[8:9]).tolist() == [[1.0] * 10]
    assert {pair for pair in rules.implications if pair[0] == "8"} == {("8", str(d)) for d in range(10) if d != 8}
    assert rules.classify(states).tolist() == list(range(10))  # by competition


def test_evidence_is_the_formula_of_competition() -> None:
    rules = ck()
    logits = torch.randn(6, len(rules.labels), dtype=torch.float64)
    p = {label: logits.sigmoid()[:, column] for column, label in enumerate(rules.labels)}
    fear = p["AU1"] * p["AU2"] * p["AU4"]
    surprise = 1 - (1 - p["AU1"] * p["AU2"]) * (1 - p["AU5"])
    sad = 1 - (1 - p["AU1"] * p["AU4"] * p["AU15"]) * (1 - p["AU11"])
    found = dict(zip(CLASSES, rules.evidence(logits).exp().unbind(1), strict=True))

    assert_close(found["Fear"], fear)
    assert_close(found["Surprise"], surprise * (1 - fear))
    assert_close(found["Sad"], sad)
    assert_close(found["Disgust"], 1 - (1 - p["AU9"]) * (1 - p["AU10"]))
    assert_close(found["Contempt"], p["AU14"])


def test_inconsistency_and_violation_are_their_formulas() -> None:
    rules = ck()
    class_logits, label_logits = (torch.randn(6, size, dtype=torch.float64) for size in (7, len(rules.labels)))
    agreed = (class_logits.softmax(1) * rules.evidence(label_logits).exp()).sum(1)

    assert_close(rules.inconsistency(class_logits, label_logits), -agreed.log())
    assert_close(rules.violation(class_logits, label_logits), 1 - agreed)


def test_violation_is_that_of_the_states_where_all_is_certain() -> None:
    rules = ck()
    states = all_patterns(rules)[::5]
    for number in range(len(CLASSES)):
        classes = torch.full((len(states),), number)
        class_logits = 200.0 * torch.nn.functional.one_hot(classes, len(CLASSES))
        flags = rules.violated(classes, states)

        assert_close(rules.violation(class_logits, sure(states)), flags.float())
        assert rules.violation_share(classes, states) == share_interval(flags)


@pytest.mark.parametrize("size", [0.0, 1.0, 200.0])
@pytest.mark.parametrize("table", [ck, digits])
def test_gradients_are_finite_everywhere(table: Any, size: float) -> None:
    rules = table()
    states = all_patterns(rules)[::3]
    label_logits = sure(states, size).requires_grad_()
    for number in range(len(rules.classes)):
        class_logits = torch.zeros(len(states), len(rules.classes))
        class_logits[:, number] = size
        class_logits.requires_grad_()
        for loss in (rules.inconsistency, rules.violation):
            values = loss(class_logits, label_logits)
            gradients = torch.autograd.grad(values.sum(), (class_logits, label_logits))
            assert values.isfinite().all()
            assert all(gradient.isfinite().all() for gradient in gradients)


def test_inconsistency_pulls_where_labels_and_class_are_far_apart() -> None:
    """Its gradient stays where that of the violation has died: at logits of 50 for 1, and 7 said."""
    rules = digits()
    label_logits = sure(pattern(rules, *DISPLAY[1]), 50.0).requires_grad_()
    class_logits = 50.0 * torch.eye(10)[7:8]
    steep, flat = (
        torch.autograd.grad(loss(class_logits, label_logits).sum(), label_logits)[0]
        for loss in (rules.inconsistency, rules.violation)
    )

    top = rules.labels.index("a")
    assert steep.abs().max() > 0.4
    assert steep[0, top] < 0
    assert flat.abs().max() < 1e-6


def test_unknown_states_decide_nothing_by_themselves() -> None:
    rules = ck()
    states = pattern(rules, "AU1", "AU2")
    fear, surprise = CLASSES.index("Fear"), CLASSES.index("Surprise")
    assert rules.classify(states).item() == surprise

    states[0, rules.labels.index("AU4")] = NAN
    assert rules.met(states)[0, surprise] == 1
    assert rules.met(states)[0, fear].isnan()
    assert rules.classify(states).item() == -1
    for number in (fear, surprise):
        assert not rules.violated(torch.tensor([number]), states).item()
    assert rules.violated(torch.tensor([CLASSES.index("Happy")]), states).item()
    assert rules.met(torch.full_like(states, NAN)).isnan().all()


def test_overlap_is_no_contradiction_and_implies_no_class() -> None:
    rules = ck()
    states = pattern(rules, "AU12", "AU14")

    assert rules.met(states).sum() == 2
    assert rules.classify(states).item() == -1
    assert not rules.violated(torch.tensor([CLASSES.index("Happy")]), states).item()
    assert not rules.violated(torch.tensor([CLASSES.index("Contempt")]), states).item()


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_small_batches_and_other_types_do(count: int, dtype: torch.dtype) -> None:
    rules = ck()
    class_logits, label_logits = torch.randn(count, 7, dtype=dtype), torch.randn(count, 12, dtype=dtype)
    wide = torch.promote_types(dtype, torch.float32)

    assert rules.evidence(label_logits).shape == (count, 7)
    assert rules.inconsistency(class_logits, label_logits).dtype == wide
    assert rules.met(label_logits > 0).shape == (count, 7)
    assert rules.violated(class_logits.argmax(1), label_logits > 0).shape == (count,)


def test_rules_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "labels: [x, y, z]\nclasses:\n  1: x and not z\n  low: |\n    not x\n    and y\nstand_ins: {z: y}\n"
    )
    rules = Rules.read(path)

    assert rules.labels == ("x", "y", "z")
    assert rules.classes == {"1": "x and not z", "low": "not x\nand y\n"}
    assert rules.bind(["y", "x"], ["low", "1"]).classify(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == [0, 1]


def test_rules_differ_in_their_digest_where_they_differ() -> None:
    one, other, same = (Rules(("a", "b"), {"x": "a", "y": rule}).bind("ab", "xy") for rule in ("b", "not a", "b"))

    assert digest(one) == digest(same) != digest(other)
    assert one == same


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ("ab", {"x": "a and AU9"}, "class x: its rule names AU9, which is no label"),
        ("ab", {"x": "a and not a"}, "class x: no states meet a and not a"),
        ("ab", {"x": "a", "y": "not not a"}, "classes x and y: their rules are met by the same states"),
        ("ab", {"x": "not (a and b)", "y": "not a or not b"}, "classes x and y: their rules"),
        ("ab", {"x": "a or b", "y": "a", "z": "b"}, "class x: whatever meets .* more specific one, of y, z"),
        ("ab", {"x": "a b"}, "class x: a formula must be names of labels joined by and, or, not"),
        ("aab", {"x": "a"}, "labels: a is named twice"),
        ("", {"x": "a"}, "labels: there are none"),
        ("ab", {}, "classes: there are none"),
        ("ab", {"x": "a and c", "y": "b and d"}, "2 faults"),
    ],
)
def test_contradictory_or_unreadable_rules_are_refused(labels: str, classes: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rules(tuple(labels), classes)


@pytest.mark.parametrize("rule", [3, None, ("a", "b")])
def test_rules_that_are_no_text_are_refused_by_class(rule: Any) -> None:
    words = f"2 faults:\n  class x: its rule must be text, got {rule!r}: quote it\n  class y: its rule names b"
    given = SimpleNamespace(labels=("a",), classes={"x": rule, "y": "b"}, stand_ins={})
    with pytest.raises(ValueError, match=re.escape(words)):
        Rules.__post_init__(cast(Any, given))  # made as usual, the checker of types may come first


def test_stand_ins_must_be_labels() -> None:
    with pytest.raises(ValueError, match="stand_ins: c for a, but c is no label"):
        Rules(("a", "b"), {"x": "a"}, {"a": "c"})


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        (["a"], ["x", "y"], "class y: its rule names b, which the data lack"),
        (["a", "b"], ["x"], "class y: it has a rule, but the data lack it"),
        (["a", "b"], ["x", "y", "neutral"], "class neutral: it has no rule"),
        (["a", "b", "b"], ["x", "y"], "label_names: b is named twice"),
        (["a", "b"], ["x", "y", "x"], "class_names: x is named twice"),
        (["c"], ["x", "z"], "4 faults"),
    ],
)
def test_data_that_rules_do_not_fit_are_refused(labels: list[str], classes: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rules(("a", "b"), {"x": "a and not b", "y": "a and b"} if "c" not in labels else {"x": "a", "y": "b"}).bind(
            labels, classes
        )


def test_stand_ins_that_make_rules_contradict_are_refused() -> None:
    rules = Rules(("a", "b", "c"), {"x": "a", "y": "b"}, {"b": "a"})

    assert rules.bind(["a", "b"], ["x", "y"]).implications == ()
    with pytest.raises(ValueError, match="classes x and y: their rules are met by the same states"):
        rules.bind(["a", "c"], ["x", "y"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "labels: [a]\nclass: {x: a}",
            "must hold the keys labels and classes, and perhaps stand_ins, got labels, class",
        ),
        ("- a", "got list"),
        ("labels: a\nclasses: {x: a}", "labels must be a list"),
        ("labels: [a]\nclasses: {x: a, x: not a}", "x: given twice in one mapping"),
        ("labels: [a]\nclasses: {yes: a}", "formulas and stand_ins must be text, got True: quote them"),
        ("labels: [a]\nclasses: {x: [a]}", r"must be text, got \['a'\]: quote"),
        ("labels: [1]\nclasses: {x: a}", "must be text, got 1: quote them"),
        ("labels: [a\nclasses: {x: a}", "rules.yaml: "),
        ("labels: [a]\nclasses: {x: b}", "rules.yaml: rules must .*\n  class x: its rule names b"),
    ],
)
def test_files_that_hold_no_rules_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        Rules.read(path)


def test_tables_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"table must be one of 'ck\+', 'emfacs', 'segments', got 'facs'"):
        Rules.builtin("facs")
    with pytest.raises(FileNotFoundError, match="which is no file; built-in tables are 'ck"):
        Rules.read(tmp_path / "none.yaml")


def test_columns_that_do_not_fit_are_refused() -> None:
    rules = Rules(("a", "b"), {"x": "a", "y": "b"}).bind("ab", "xy")
    with pytest.raises(ValueError, match=r"label_logits must be \[B, 2\], .* got \[4, 3\]"):
        rules.evidence(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"class_logits must be \[B, 2\], .* got \[4, 5\]"):
        rules.inconsistency(torch.zeros(4, 5), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="states must be those of the 2 labels that rules were bound to, got 3"):
        rules.met(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"labels must be 0, 1 or NaN, got 0\.5"):
        rules.classify(torch.full((1, 2), 0.5))
    with pytest.raises(ValueError, match="classes must be within 0 and 1, got 0 to 2"):
        rules.violated(torch.tensor([0, 2]), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="labels must be one whole class number per image"):
        rules.violated(torch.zeros(2), torch.zeros(2, 2))


def test_evidence_of_one_image_is_that_in_its_batch() -> None:
    rules = ck()
    logits = torch.randn(5, 12, dtype=torch.float64)

    assert torch.equal(rules.evidence(logits[2:3]), rules.evidence(logits)[2:3])
    assert math.isfinite(rules.evidence(logits).sum().item())
