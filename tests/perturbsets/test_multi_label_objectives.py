"""Objectives over the states of labels, against their formulas and brute force, and by what holds for all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import Adversary, CrossEntropy, Margin, Objective, PixelBall, ProjectedGradient, RandomSearch
from perturbsets.multi_label import BinaryCrossEntropy, LabelMargin, LabelRanking, TopK
from perturbsets.multi_label.objectives import binary_cross_entropy

NAN = float("nan")
DOUBLE = torch.float64
LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.0], [-3.0, 1.0, 0.2, 4.0], [0.3, 0.1, -0.2, -5.0]], dtype=DOUBLE)
STATES = torch.tensor([[1.0, 0.0, NAN, 0.0], [1.0, 0.0, 0.0, NAN], [NAN, NAN, NAN, 0.0]], dtype=DOUBLE)


def judged(objective: Objective, states: Tensor = STATES, logits: Tensor = LOGITS) -> tuple[Tensor, Tensor]:
    return objective.at(nn.Identity(), logits, states)(logits, logits)


def pairs(row: int) -> list[tuple[int, float, float]]:
    """Number, logit and state of the known labels of an image."""
    return [(j, float(LOGITS[row, j]), float(STATES[row, j])) for j in range(4) if not STATES[row, j].isnan()]


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 0.0, 3.0], dtype=DOUBLE)])
@pytest.mark.parametrize("positive", [None, torch.tensor([4.0, 1.0, 0.1, 2.0], dtype=DOUBLE)])
def test_cross_entropy_agrees_with_its_formula(weights: Tensor | None, positive: Tensor | None) -> None:
    losses = binary_cross_entropy(LOGITS, STATES, weights, positive)
    for row in range(3):
        terms = [
            -(1 if weights is None else float(weights[j]))
            * special.log_expit(logit if on else -logit)
            * (float(positive[j]) if on and positive is not None else 1)
            for j, logit, on in pairs(row)
        ]
        assert_close(losses[row], torch.tensor(sum(terms) / len(terms), dtype=DOUBLE))


def test_cross_entropy_is_that_of_torch_where_all_states_are_known() -> None:
    logits, states = torch.randn(6, 5), torch.randint(0, 2, (6, 5)).float()
    weights, positive = torch.rand(5), 5 * torch.rand(5)
    theirs = nn.BCEWithLogitsLoss(weights, pos_weight=positive)(logits, states)

    assert_close(binary_cross_entropy(logits, states, weights, positive).mean(), theirs)


def test_unknown_states_have_no_loss_and_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    losses = binary_cross_entropy(logits, STATES)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)

    assert torch.equal(gradient == 0, STATES.isnan())
    assert binary_cross_entropy(LOGITS[:1], torch.full((1, 4), NAN, dtype=DOUBLE)).tolist() == [0.0]


def test_cross_entropy_is_raised_from_the_truth_and_lowered_to_a_target() -> None:
    away, any_wrong = judged(BinaryCrossEntropy())
    _, all_wrong = judged(BinaryCrossEntropy(goal="all"))
    to, asked = judged(BinaryCrossEntropy(targeted=True))

    assert_close(away, binary_cross_entropy(LOGITS, STATES))
    assert_close(to, -away)
    # Right, right and off at a logit of 0; wrong in all three; right in the only one known.
    assert any_wrong.tolist() == all_wrong.tolist() == [False, True, False]
    assert asked.tolist() == [True, False, True]
    one_wrong = STATES.clone().index_put_((torch.tensor([0]), torch.tensor([0])), torch.tensor(0.0).double())
    assert judged(BinaryCrossEntropy(), one_wrong)[1].tolist() == [True, True, False]
    assert judged(BinaryCrossEntropy(goal="all"), one_wrong)[1].tolist() == [False, True, False]


def test_weights_leave_the_goal_alone() -> None:
    weighted, success = judged(BinaryCrossEntropy(weights=(0.0, 1.0, 2.0, 0.0)))

    assert_close(weighted, binary_cross_entropy(LOGITS, STATES, torch.tensor([0.0, 1.0, 2.0, 0.0])))
    assert success.tolist() == judged(BinaryCrossEntropy())[1].tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": (1.0, -1.0)}, "weights must be 0 or more and finite"),
        ({"weights": (1.0, NAN)}, "weights must be 0 or more and finite"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": ()}, "one for each label"),
        ({"goal": "most"}, "goal.*'most'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):  # the checker of types may come first
        BinaryCrossEntropy(**wrong)


def test_weights_of_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be one for each of the 4 labels, got 3"):
        judged(BinaryCrossEntropy(weights=(1.0, 1.0, 1.0)))


# Every objective in each of its forms, for what must hold for all of them; with states that have both kinds.
KINDS: list[Objective] = [
    BinaryCrossEntropy(),
    BinaryCrossEntropy(targeted=True, weights=(1.0, 0.0, 2.0, 0.5, 1.0)),
    BinaryCrossEntropy(goal="all"),
    LabelMargin(),
    LabelMargin(scores="probabilities", confidence=0.2, goal="all"),
    LabelMargin(targeted=True, confidence=1.0),
    LabelMargin(targeted=True, scores="probabilities"),
    LabelRanking(),
    LabelRanking(targeted=True),
    TopK(2),
    TopK(2, smooth=True),
    TopK(3, targeted=True),
    TopK(1, targeted=True, smooth=True),
]


def patterns(count: int, labels: int = 5) -> Tensor:
    """States in which the first label is on, the last two are off, and others are unknown too."""
    drawn = torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (count, labels), generator=torch.Generator().manual_seed(2))]
    drawn[:, 0], drawn[:, -2:] = 1, 0
    return drawn


def net(dtype: torch.dtype = torch.float32, labels: int = 5) -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, labels)).to(dtype)


@pytest.mark.parametrize("confidence", [0.0, 0.3])
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_label_margins_agree_with_their_formula(confidence: float, scores: Any) -> None:
    to, asked = judged(LabelMargin(targeted=True, confidence=confidence, scores=scores))
    away, any_wrong = judged(LabelMargin(confidence=confidence, scores=scores))
    all_away, _ = judged(LabelMargin(confidence=confidence, scores=scores, goal="all"))
    for row in range(3):
        short, other = 0.0, list[float]()
        for _, logit, on in pairs(row):
            height = logit if scores == "logits" else special.expit(logit) - 0.5
            short += max(0.0, confidence - (1 if on else -1) * height)
            other.append(max(0.0, confidence - (-1 if on else 1) * height))
        assert_close(to[row], torch.tensor(-short, dtype=DOUBLE))
        assert_close(away[row], torch.tensor(-min(other), dtype=DOUBLE))
        assert_close(all_away[row], torch.tensor(-sum(other), dtype=DOUBLE))
    assert any_wrong.tolist() == (~asked).tolist() == [False, True, False]


def test_untargeted_margins_are_those_of_the_opposite_pattern() -> None:
    away, all_wrong = judged(LabelMargin(confidence=0.1, goal="all"))
    to, asked = judged(LabelMargin(targeted=True, confidence=0.1), 1 - STATES)

    assert torch.equal(away, to)
    assert torch.equal(all_wrong, asked)


@pytest.mark.parametrize(
    ("goal", "pulls"),
    [("all", [-1, 1, 0, 0, 0]), ("any", [-1, 0, 0, 0, 0])],
)
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_margins_pull_at_what_is_right_and_at_nothing_that_is_wrong_for_sure(
    goal: Any, pulls: list[int], scores: Any
) -> None:
    # Both right, the first nearer to its boundary; wrong, by more than the confidence; unknown.
    logits = torch.tensor([[1.0, -1.5, 3.0, -3.0, 0.1]], requires_grad=True)
    states = torch.tensor([[1.0, 0.0, 0.0, 1.0, NAN]])
    if goal == "any":
        states[:, 2:] = NAN
    margin = LabelMargin(confidence=0.3, scores=scores, goal=goal)
    value, _ = margin.at(nn.Identity(), logits.detach(), states)(logits, logits)
    (gradient,) = torch.autograd.grad(value.sum(), logits)

    assert gradient[0].sign().tolist() == pulls


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"confidence": -0.1}, r"confidence must be in \[0, inf\) for logits, got -0.1"),
        ({"confidence": NAN}, "confidence must be in"),
        (
            {"confidence": 0.5, "scores": "probabilities"},
            r"confidence must be in \[0, 0.5\) for probabilities, got 0.5",
        ),
        ({"scores": "odds"}, "scores.*'odds'"),
        ({"goal": "most"}, "goal.*'most'"),
    ],
)
def test_margins_that_cannot_be_meant_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):  # the checker of types may come first
        LabelMargin(**wrong)


def test_rankings_agree_with_brute_force() -> None:
    logits, states = torch.randn(200, 5, dtype=DOUBLE), patterns(200)
    away, inverted = judged(LabelRanking(), states, logits)
    to, ranked = judged(LabelRanking(targeted=True), states, logits)
    for row in range(200):
        on, off = (logits[row][states[row] == state].tolist() for state in (1, 0))
        assert away[row].item() == max(off) - min(on)
        assert inverted[row].item() == any(one > other for one in off for other in on)
        assert ranked[row].item() == all(one < other for one in off for other in on)

    assert torch.equal(to, -away)
    assert inverted.any()
    assert ranked.any()


@pytest.mark.parametrize("states", [torch.ones(2, 3), torch.tensor([[0.0, NAN, 0.0], [1.0, NAN, 1.0]])])
@pytest.mark.parametrize("targeted", [False, True])
def test_images_without_both_kinds_cannot_be_ranked(states: Tensor, targeted: bool) -> None:
    whole = torch.cat([torch.tensor([[1.0, 0.0, 1.0]]), states])
    with pytest.raises(ValueError, match=r"on and off in each image .* only one kind in rows 1, 2: leave"):
        LabelRanking(targeted=targeted).at(nn.Identity(), torch.rand(3, 3), whole)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("smooth", [False, True])
def test_top_k_agrees_with_brute_force(k: int, smooth: bool) -> None:
    logits, states = torch.randn(400, 5, dtype=DOUBLE), patterns(400)
    others = (states != 1).sum(1)
    logits, states = logits[others >= k], states[others >= k]
    away, pushed_out = judged(TopK(k, smooth=smooth), states, logits)
    to, pulled_in = judged(TopK(k, targeted=True, smooth=smooth), states, logits)
    for row in range(len(logits)):
        first = set(logits[row].topk(k).indices.tolist())
        on = set((states[row] == 1).nonzero()[:, 0].tolist())
        inside = sorted((float(logits[row, j]) for j in on), reverse=True)
        outside = sorted((float(logits[row, j]) for j in range(5) if j not in on), reverse=True)

        def of(ranked: list[float], rank: int) -> float:
            return float(np.mean(ranked[:rank])) if smooth else ranked[rank - 1]

        taken = min(k, len(on))
        assert pushed_out[row].item() == (not on & first)
        assert pulled_in[row].item() == (on <= first or first <= on)
        assert away[row].item() == pytest.approx(of(outside, k) - inside[0])
        assert to[row].item() == pytest.approx(inside[taken - 1] - of(outside, k - taken + 1))

    assert pushed_out.any()
    assert pulled_in.any()
    if not smooth:
        assert torch.equal(away > 0, pushed_out)
        assert torch.equal(to > 0, pulled_in)


def test_one_high_label_satisfies_an_average_but_not_the_goal() -> None:
    logits, states = torch.tensor([[1.0, 5.0, -2.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    smooth, success = judged(TopK(2, smooth=True), states, logits)
    exact, _ = judged(TopK(2), states, logits)

    assert smooth.item() == 0.5
    assert exact.item() == -3.0
    assert not success.item()


@pytest.mark.parametrize(
    ("k", "targeted", "states", "message"),
    [
        (3, False, [[1, 0, 0]], "k must be below the number of labels, 3, got 3"),
        (7, True, [[1, 0, 0]], "k must be below the number of labels, 3, got 7"),
        (2, False, [[1, 0, 0], [1, 1, 0]], "not on for at least 2, got others in row 1: leave"),
        (1, False, [[0, 0, 0], [1, 1, 0], [1, 1, 1]], "on for at least 1 .* at least 1, got others in rows 0, 2"),
        (2, True, [[0, 0, 0], [1, 1, 0], [1, 1, 1]], "on for at least 1 .* at least 1, got others in rows 0, 2"),
    ],
)
def test_places_that_cannot_be_had_are_refused(k: int, targeted: bool, states: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopK(k, targeted=targeted).at(nn.Identity(), torch.rand(len(states), 3), torch.tensor(states))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        TopK(0)


@pytest.mark.parametrize("k", [2.5, 2.0, True, "2"])
def test_places_are_whole_numbers(k: Any) -> None:
    with pytest.raises(ValueError, match=f"k must be a whole number, got {k!r}: the number of labels that count"):
        TopK.__post_init__(cast(Any, SimpleNamespace(k=k)))  # made as usual, the checker of types may come first
    with pytest.raises((ValueError, TypeError), match=r"(?s)k.*(whole number|int)"):
        TopK(k)


def test_places_there_are_too_few_labels_for_are_never_asked_for() -> None:
    """Were all images just left out, nobody would learn of it."""
    for targeted in (False, True):
        with pytest.raises(ValueError, match="k must be below the number of labels, 3, got 3"):
            TopK(3, targeted=targeted).attainable(torch.zeros(2, 3))


def test_one_label_on_is_one_class() -> None:
    """Then ranking and the first place are the margin of classes, and a single label is a class of two."""
    logits, classes = torch.randn(30, 4, dtype=DOUBLE), torch.randint(0, 4, (30,))
    states = nn.functional.one_hot(classes, 4)
    for targeted in (False, True):
        margins, success = Margin(targeted=targeted).at(nn.Identity(), logits, classes)(logits, logits)
        for objective in (
            LabelRanking(targeted=targeted),
            TopK(1, targeted=targeted),
            TopK(1, targeted=targeted, smooth=True),
        ):
            values, same = judged(objective, states, logits)
            assert_close(values, margins)
            assert torch.equal(same, success)
        pair = torch.stack([torch.zeros(30, dtype=DOUBLE), logits[:, 0]], 1)
        wanted = CrossEntropy(targeted=targeted).at(nn.Identity(), pair, states[:, 0])(pair, pair)
        found = judged(BinaryCrossEntropy(targeted=targeted), states[:, :1], logits[:, :1])
        assert_close(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])


@pytest.mark.parametrize("objective", KINDS)
def test_unknown_labels_pull_at_nothing_unless_they_take_a_place(objective: Objective) -> None:
    logits, states = torch.randn(50, 5, dtype=DOUBLE, requires_grad=True), patterns(50)
    value, _ = objective.at(nn.Identity(), logits.detach(), states)(logits, logits)
    (gradient,) = torch.autograd.grad(value.sum(), logits)

    assert gradient.isfinite().all()
    assert isinstance(objective, TopK) == bool(gradient[states.isnan()].any())


@pytest.mark.parametrize("objective", KINDS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_states_of_any_type_do(objective: Objective, dtype: torch.dtype) -> None:
    logits, states = torch.randn(6, 5), patterns(6).nan_to_num()
    wanted, success = judged(objective, states, logits)
    value, same = judged(objective, states.to(dtype), logits)

    assert value.dtype == torch.float32
    assert torch.equal(value, wanted)
    assert torch.equal(same, success)


@pytest.mark.parametrize("objective", KINDS)
def test_an_image_alone_and_some_of_the_images_give_what_the_batch_gives(objective: Objective) -> None:
    logits, states = torch.randn(6, 5, dtype=DOUBLE), patterns(6)
    loss = objective.at(nn.Identity(), logits, states)
    value, success = loss(logits, logits)

    for row in range(6):
        alone, flag = judged(objective, states[row : row + 1], logits[row : row + 1])
        assert_close(alone[0], value[row])
        assert flag[0] == success[row]
    rows = torch.tensor([4, 1, 2])
    kept, flags = loss.select(rows).select(torch.tensor([2, 0]))(logits[[2, 4]], logits[[2, 4]])
    assert_close(kept, value[[2, 4]])
    assert torch.equal(flags, success[[2, 4]])


@pytest.mark.parametrize("objective", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches_of_any_type_and_size_are_attacked(objective: Objective, dtype: torch.dtype, count: int) -> None:
    x, states = torch.rand(count, 1, 4, 4).to(dtype), patterns(count)
    found = Adversary(PixelBall("linf", 0.1), objective, ProjectedGradient(3, stop_on_success=True))(
        net(dtype), x, states
    )

    assert found.images.dtype == dtype
    assert found.loss.shape == found.success.shape == (count,)
    assert found.loss.isfinite().all()
    assert ((found.images - x).abs() <= 0.1 + 1e-6).all()


@pytest.mark.parametrize("objective", KINDS)
def test_attacks_raise_what_they_are_to_raise(objective: Objective) -> None:
    x, states, model = torch.rand(20, 1, 4, 4, dtype=DOUBLE), patterns(20), net(DOUBLE)
    loss = objective.at(model, x, states)
    before, _ = loss(x, x.flatten(1))
    found = Adversary(PixelBall("linf", 0.5), objective, ProjectedGradient(20, starts="zero"))(model, x, states)

    assert torch.equal(found.success, loss(found.images, found.offsets)[1])
    assert (found.loss >= before)[~found.success].all()
    assert found.loss.mean() > before.mean()
    assert found.success.any()


@pytest.mark.parametrize("objective", KINDS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2]), r"labels must be states \[3, L\]"),
        (torch.zeros(2, 5), r"labels must be states \[3, L\]"),
        (torch.full((3, 5), 2.0), "labels must be 0, 1 or NaN, got 2 as label 0 of row 0"),
        (torch.full((3, 5), NAN), "labels must have a known state for each image, got none in rows 0, 1, 2"),
    ],
)
def test_what_are_no_states_of_the_images_is_refused(objective: Objective, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversary(PixelBall("linf", 0.1), objective, RandomSearch(1))(net(), torch.rand(3, 1, 4, 4), labels)


@pytest.mark.parametrize("objective", KINDS)
def test_models_of_other_labels_or_none_are_refused(objective: Objective) -> None:
    x, states = torch.rand(3, 1, 4, 4), patterns(3)
    with pytest.raises(ValueError, match=r"model must return one logit for each label, \[3, 5\], got \[3, 4\]"):
        Adversary(PixelBall("linf", 0.1), objective, RandomSearch(1))(net(labels=4), x, states)
    with pytest.raises(ValueError, match="model must be a multi-label classifier for this objective, got None"):
        objective.at(None, x, states)
