from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from augment import Digits
from cvae import LoopSettings
from perturbsets import (
    Adversary,
    CrossEntropy,
    LatentBall,
    Method,
    OneStep,
    PixelBall,
    ProjectedGradient,
    StandardTraining,
    Worst,
    train_classifier,
)
from perturbsets.fingerprint import digest
from perturbsets.models import DualConvNet
from perturbsets.multi_label import BinaryCrossEntropy, DualS1, DualS2
from perturbsets.recipe.parts import part
from perturbsets.training import DualTargets
from tests.perturbsets.training.dual_methods import (
    FOOL,
    HELPED,
    LEARNING,
    OWN,
    RULES,
    STEP,
    classifier,
    consistent,
    data,
    frozen,
    network,
)

SETTINGS = LoopSettings(steps=2, batch=8)
FREE = PixelBall("linf", 0.1, bounds=(-math.inf, math.inf))  # so that the written formula has no clipping
WIDE_FOOL, WIDE_OWN = (Adversary(FREE, objective, STEP) for objective in (BinaryCrossEntropy(), CrossEntropy()))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 8) -> tuple[Tensor, DualTargets]:
    images, classes, states = data(count).tensors
    return images, DualTargets(classes, states)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return -logits.log_softmax(1)[torch.arange(len(y)), y]


def label_loss(logits: Tensor, z: Tensor) -> Tensor:
    """Mean over the known labels, written with probabilities."""
    known, p = ~z.isnan(), logits.sigmoid()
    each = -(z.nan_to_num() * p.log() + (1 - z.nan_to_num()) * (1 - p).log())
    return (each * known).sum(1) / known.sum(1)


def stepped(loss: Callable[[Tensor], Tensor], x: Tensor, size: float) -> Tensor:
    """One signed step up a loss."""
    x = x.clone().requires_grad_()
    return (x + size * torch.autograd.grad(loss(x).sum(), x)[0].sign()).detach()


def by_hand(model: DualConvNet, x: Tensor, labels: DualTargets, size: float = 0.1) -> tuple[Tensor, Tensor]:
    """x'_ω and x'_θ of the one-step reference form."""
    y, z = labels
    return (
        stepped(lambda images: label_loss(model.label_branch(images), z), x, size),
        stepped(lambda images: cross_entropy(model.class_branch(images), y), x, size),
    )


def judged(method: Method, model: Any, x: Tensor, labels: DualTargets) -> tuple[Tensor, Tensor]:
    ((losses, logits),) = method(model, model, x, labels, drawn())
    return losses, logits


def gradients(losses: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(losses.mean(), list(model.parameters()), allow_unused=True, materialize_grads=True))


def assert_same(got: Tensor, want: Tensor, model: nn.Module) -> None:
    """Losses and what they teach."""
    assert_close(got, want)
    assert_close(gradients(got, model), gradients(want, model), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_s1_is_the_written_formula(shared: bool, weight: float) -> None:
    (x, labels), model = batch(), network(shared)
    y, z = labels
    fooling, _ = by_hand(model, x, labels)
    losses, logits = judged(DualS1(WIDE_FOOL, weight=weight, auxiliary_weight=0.7), model, x, labels)
    clean_loss, fooled_loss = (cross_entropy(model(images), y) for images in (x, fooling))

    want = (1 - weight) * clean_loss + weight * fooled_loss + 0.7 * label_loss(model.label_branch(x), z)
    assert_same(losses, want, model)
    assert_close(logits, model(fooling) if weight else model(x))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_s2_on_two_examples_is_the_written_formula(shared: bool, weight: float) -> None:
    (x, labels), model = batch(), network(shared)
    y, z = labels
    fooling, own = by_hand(model, x, labels)
    losses, logits = judged(DualS2(WIDE_FOOL, WIDE_OWN, weight=weight, auxiliary_adversarial=True), model, x, labels)

    lesson = (label_loss(model.label_branch(x), z) + label_loss(model.label_branch(fooling), z)) / 2
    want = (1 - weight) * cross_entropy(model(own), y) + weight * cross_entropy(model(fooling), y) + lesson
    assert_same(losses, want, model)
    assert_close(logits, model(own) if weight < 1 else model(fooling))


@pytest.mark.parametrize("shared", [False, True])
def test_added_offsets_keep_where_they_agree_and_cancel_where_they_do_not(shared: bool) -> None:
    (x, labels), model = batch(), network(shared)
    fooling, own = by_hand(model, x, labels)
    both = x + ((fooling - x) + (own - x)).clamp(-0.1, 0.1)
    losses, logits = judged(DualS2(WIDE_FOOL, WIDE_OWN, combine="added"), model, x, labels)

    want = cross_entropy(model(both), labels.classes) + label_loss(model.label_branch(x), labels.states)
    assert_same(losses, want, model)
    assert_close(logits, model(both))
    assert ((both - x).abs() < 1e-6).any()  # the sign of the summed gradient would never stay
    assert ((both - x).abs() > 0.0999).any()


def test_added_offsets_are_projected_to_the_one_radius_of_any_set(linear_cvae: Any) -> None:
    cvae, auxiliary = linear_cvae(), nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    x, labels = torch.rand(5, 1, 2, 3), DualTargets(torch.arange(5) % 4, torch.eye(5, 3))
    labels.states[3:, 0] = 1
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    ball = LatentBall(cvae, 0.8, bank=torch.randn(5, 2))
    fool, own = (Adversary(ball, objective, STEP) for objective in (BinaryCrossEntropy(), CrossEntropy()))
    first, second = (fool(auxiliary, x, labels.states).offsets, own(model, x, labels.classes).offsets)
    total = first + second
    projected = total * (0.8 / total.norm(dim=1, keepdim=True)).clamp_max(1)

    _, logits = judged(DualS2(fool, own, combine="added", auxiliary=auxiliary), model, x, labels)
    assert_close(logits, model(ball.at(x).decode(projected)))


def test_a_frozen_auxiliary_classifier_gives_what_the_same_branch_gives() -> None:
    (x, labels), model = batch(), network()
    auxiliary, alone = copy.deepcopy(model.label_branch), model.class_branch
    for learning, helped in (
        (DualS1(FOOL), DualS1(FOOL, auxiliary=auxiliary)),
        (DualS2(FOOL, OWN), DualS2(FOOL, OWN, auxiliary=auxiliary)),
        (DualS2(FOOL, OWN, combine="added"), DualS2(FOOL, OWN, combine="added", auxiliary=auxiliary)),
    ):
        losses, logits = judged(learning, model, x, labels)
        without, same_logits = judged(helped, alone, x, labels)
        assert_close(logits, same_logits)
        assert_close(losses - without, label_loss(model.label_branch(x), labels.states))
        # What the classifier is taught knows nothing of the auxiliary classifier's lesson, and the other way round: two
        # steps in one.
        assert_close(gradients(losses, model.class_branch), gradients(without, alone))
        lesson = label_loss(model.label_branch(x), labels.states)
        assert_close(gradients(losses, model.label_branch), gradients(lesson, model.label_branch))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_rules_apply_to_every_example_of_the_classifier(weight: float) -> None:
    (x, labels), model = batch(), network()
    y, z = labels
    fooling, own = by_hand(model, x, labels)

    def full(images: Tensor) -> Tensor:
        inconsistency = consistent(model(images), model.label_branch(images))
        return cross_entropy(model(images), y) + weight * inconsistency

    def lesson() -> Tensor:
        return label_loss(model.label_branch(x), z)

    rules = {"rules": consistent, "rules_weight": weight}
    losses, _ = judged(DualS1(WIDE_FOOL, weight=0.3, **rules), model, x, labels)
    assert_same(losses, 0.7 * full(x) + 0.3 * full(fooling) + lesson(), model)
    losses, _ = judged(DualS2(WIDE_FOOL, WIDE_OWN, weight=0.3, **rules), model, x, labels)
    assert_same(losses, 0.3 * full(fooling) + 0.7 * full(own) + lesson(), model)

    auxiliary = copy.deepcopy(model.label_branch)
    frozen_losses, _ = judged(
        DualS2(WIDE_FOOL, WIDE_OWN, weight=0.3, auxiliary=auxiliary, **rules), model.class_branch, x, labels
    )
    assert_close(frozen_losses, 0.3 * full(fooling) + 0.7 * full(own))
    frozen_losses.mean().backward()
    assert all(parameter.grad is None for parameter in auxiliary.parameters())


class Seen(nn.Module):
    """Counts passes, and takes down what was asked of them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.passes = inner, []

    def forward(self, images: Tensor, **options: Any) -> Any:
        self.passes.append((len(images), options))
        return self.inner(images, **options)


@pytest.mark.parametrize(
    ("method", "rows", "classes", "labels"),
    [
        (DualS1(FOOL), 2, slice(0, None), slice(0, 8)),
        (DualS1(FOOL, auxiliary_adversarial=True), 2, slice(0, None), slice(0, 16)),
        (DualS1(FOOL, **RULES), 2, slice(0, None), slice(0, 16)),
        (DualS2(FOOL, OWN), 3, slice(8, None), slice(0, 8)),
        (DualS2(FOOL, OWN, auxiliary_adversarial=True), 3, slice(8, None), slice(0, 16)),
        (DualS2(FOOL, OWN, combine="added"), 2, slice(8, None), slice(0, 8)),
        (DualS2(FOOL, OWN, combine="added", auxiliary_adversarial=True), 3, slice(16, None), slice(0, 16)),
        (DualS2(FOOL, OWN, **RULES), 3, slice(8, None), slice(0, 24)),
    ],
)
def test_one_pass_asks_for_no_logits_that_do_not_count(method: Method, rows: int, classes: Any, labels: Any) -> None:
    (x, targets), model = batch(), network()
    seen = Seen(model)
    list(method(seen, model, x, targets, drawn()))

    assert seen.passes == [(rows * 8, {"both": True, "class_rows": classes, "label_rows": labels})]


@pytest.mark.parametrize("method", [*LEARNING, *HELPED])
def test_two_steps_change_the_weights_the_same_way_each_time(method: Method) -> None:
    pairs, ends = data(), []
    start = (network(shared=True) if method in LEARNING else classifier()).state_dict()
    for number in range(2):
        torch.manual_seed(number)  # the global state plays no part
        model = network(shared=True) if method in LEARNING else classifier()
        model.load_state_dict({name: tensor.clone() for name, tensor in start.items()})
        records = train_classifier(model, pairs, method, SETTINGS)
        assert {"loss", "accuracy"} <= set(records[-1])
        assert 0 <= records[-1]["accuracy"] <= 1
        assert not any(module.training for module in model.modules())
        ends.append(model.state_dict())

    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name
    changed = {name for name, tensor in ends[0].items() if not torch.equal(tensor, start[name])}
    assert {name for name in start if name.endswith(("weight", "bias"))} == changed & {
        name for name in start if name.endswith(("weight", "bias"))
    }
    if method in HELPED:
        assert ends[0]["2.num_batches_tracked"] == SETTINGS.steps


@pytest.mark.parametrize("method", HELPED)
def test_a_frozen_auxiliary_classifier_is_left_as_it_was(method: Any) -> None:
    auxiliary = getattr(method, "method", method).auxiliary.train()
    auxiliary[1].eval()
    before, modes = copy.deepcopy(auxiliary.state_dict()), [module.training for module in auxiliary.modules()]
    grads = [parameter.requires_grad for parameter in auxiliary.parameters()]
    train_classifier(classifier(), data(), method, SETTINGS)

    assert_close(auxiliary.state_dict(), before, rtol=0, atol=0)
    assert [module.training for module in auxiliary.modules()] == modes
    assert [parameter.requires_grad for parameter in auxiliary.parameters()] == grads
    assert all(parameter.grad is None for parameter in auxiliary.parameters())


def test_auxiliary_classifier_and_settings_are_in_the_fingerprint() -> None:
    def other() -> nn.Module:
        auxiliary = frozen()
        with torch.no_grad():
            auxiliary[1].weight += 1e-3
        return auxiliary

    methods: list[Any] = [*LEARNING, *HELPED]
    methods += [replace(HELPED[0], auxiliary=other()), replace(HELPED[0], weight=0.4)]  # type: ignore[type-var]
    methods += [replace(HELPED[1], rules=torch.add), replace(HELPED[1], rules_weight=0.4)]  # type: ignore[type-var]
    assert len({digest(method) for method in methods}) == len(methods)
    assert digest(replace(HELPED[0], auxiliary=frozen())) == digest(HELPED[0])  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"auxiliary_weight": -1.0}, "auxiliary_weight must be a finite number of 0 or more, got -1.0"),
        ({"auxiliary_weight": math.nan}, "auxiliary_weight must be"),
        ({"rules": consistent, "rules_weight": math.inf}, "rules_weight must be a finite number"),
        ({"rules_weight": 0.5}, "rules_weight must be 0 without rules, got 0.5"),
        (
            {"auxiliary": nn.Flatten(), "auxiliary_adversarial": True},
            "auxiliary_adversarial must be False with a frozen auxiliary",
        ),
        ({"weight": 1.5}, r"weight must be a share in \[0, 1\], got 1.5"),
        ({"weight": math.nan}, "weight must be a share"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, Any], message: str) -> None:
    for method in (lambda: DualS1(FOOL, **given), lambda: DualS2(FOOL, OWN, **given)):
        with pytest.raises(ValueError, match=message):
            method()


@pytest.mark.parametrize(
    "own", [Adversary(PixelBall("linf", 0.2)), Adversary(PixelBall("l2", 0.1)), Worst([OWN])], ids=str
)
def test_offsets_of_different_sets_are_not_added(own: Any) -> None:
    with pytest.raises(ValueError, match=r'combine="added" must add offsets of one set, got PixelBall.* and'):
        DualS2(FOOL, own, combine="added")
    assert DualS2(FOOL, own).combine == "two"
    assert DualS2(FOOL, Adversary(PixelBall("linf", 0.1)), combine="added").adversary  # an equal set is the same


@pytest.mark.parametrize(
    ("method", "model", "got"),
    [(DualS1(FOOL), classifier(), "neither for a Sequential"), (DualS1(FOOL, auxiliary=frozen()), network(), "both")],
)
def test_there_must_be_one_auxiliary_classifier(method: Method, model: nn.Module, got: str) -> None:
    with pytest.raises(ValueError, match=f"auxiliary must be given, or be the label branch .* got {got}"):
        train_classifier(model, data(), method, SETTINGS)


ZEROS = torch.zeros(8, dtype=torch.int64)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((ZEROS,), r"data must give \(image, class number, states of labels\) .* got 2 parts"),
        ((torch.zeros(8), torch.zeros(8, 3)), r"data must give \(image, class number\)"),
        ((ZEROS + 4, torch.zeros(8, 3)), "labels must be within 0 and 3 for a model of 4 classes"),
        ((ZEROS, torch.full((8, 3), math.nan)), "a known state for each image, got none in rows"),
        ((ZEROS, torch.zeros(8, 5)), r"one logit for each label, \[8, 5\], got \[8, 3\]"),
    ],
)
def test_data_that_do_not_fit_are_refused(parts: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_classifier(network(), TensorDataset(torch.rand(8, 1, 8, 8), *parts), DualS1(FOOL), SETTINGS)


def test_an_objective_over_classes_does_not_fit_an_auxiliary_classifier() -> None:
    with pytest.raises(ValueError, match="labels must be one whole class number per image"):
        train_classifier(network(), data(), DualS1(OWN), SETTINGS)


def test_a_recipe_says_the_settings_and_the_run_gives_the_rest() -> None:
    said = {"build": "perturbsets.multi_label.DualS2", "combine": "added", "rules_weight": 0.5}
    made = TypeAdapter(part("dual method")).validate_python(said)

    method = made.make(auxiliary_adversary=FOOL, adversary=OWN, auxiliary=None, rules=consistent)
    assert method == DualS2(FOOL, OWN, combine="added", rules=consistent, rules_weight=0.5)
    with pytest.raises(ValidationError, match="auxiliary_adversary"):
        TypeAdapter(part("dual method")).validate_python(said | {"auxiliary_adversary": "mine"})


LIT = ["abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg"]
"""The segments of a display that each digit lights."""


def test_auxiliary_training_of_digits_is_more_robust_than_plain_training() -> None:
    images, classes = Digits("train", size=16, digit=14).batch(range(1000))
    x, y = Digits("test", size=16, digit=14).batch(range(150))
    ball = PixelBall("linf", 0.1)
    fool, own = (Adversary(ball, objective, OneStep()) for objective in (BinaryCrossEntropy(), CrossEntropy()))
    judge = Adversary(ball, CrossEntropy(), ProjectedGradient(10))
    states = torch.tensor([[float(segment in lit) for segment in "abcdefg"] for lit in LIT])
    pairs = TensorDataset(images, classes, states[classes])
    kept = []
    for method in (StandardTraining(), DualS2(fool, own)):
        torch.manual_seed(0)
        model = DualConvNet(1, 16, 16, classes=10, labels=7, hidden=32, widths=(8, 16))
        train_classifier(model, pairs, method, LoopSettings(steps=250, batch=64, learning_rate=0.01))
        kept.append((~judge(model, x, y, generator=drawn()).success).double().mean().item())

    assert kept[1] > kept[0] + 0.2
