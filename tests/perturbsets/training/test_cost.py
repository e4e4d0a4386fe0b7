from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    MART,
    TRADES,
    AdversarialTraining,
    AdversarialWeightPerturbation,
    Adversary,
    AugmentedTraining,
    CrossEntropy,
    FastAdversarialTraining,
    FeatureAdversarialTraining,
    FeatureDistance,
    FreeAdversarialTraining,
    GradientAlignment,
    KLDivergence,
    LargerLossTraining,
    LinearFeatureDistance,
    Method,
    OneStep,
    PixelBall,
    ProjectedGradient,
    StandardTraining,
)
from perturbsets.multi_label import BinaryCrossEntropy, DualS1, DualS2, MultiLabelTraining
from perturbsets.training import Cost, DualTargets, gradients_per_image
from tests.perturbsets.training.dual_methods import (
    BALL,
    FOOL,
    HELPED,
    LEARNING,
    OWN,
    RULES,
    STEP,
    classifier,
    data,
    frozen,
    network,
)


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batch(count: int = 6) -> tuple[Tensor, DualTargets]:
    images, classes, states = data(count).tensors
    return images, DualTargets(classes, states)


def counted(cost: Cost) -> tuple[float, ...]:
    return cost.classifier_forward, cost.classifier_backward, cost.auxiliary_forward, cost.auxiliary_backward


def climb(steps: int, objective: Any = None, **given: Any) -> Adversary:
    return Adversary(BALL, objective or CrossEntropy(), ProjectedGradient(steps, **given))


# Counted by hand, from what each method is said to do: passes of the attack, then those of the update.
PLAIN: list[tuple[Method, tuple[float, float]]] = [
    (StandardTraining(), (1, 1)),
    (AugmentedTraining(BALL), (1, 1)),
    (
        AdversarialTraining(Adversary(BALL, CrossEntropy(), STEP)),
        (2 + 1, 1 + 1),
    ),  # the end is judged by a pass of its own
    (AdversarialTraining(Adversary(BALL, CrossEntropy(), OneStep())), (2 + 1, 1 + 1)),
    (AdversarialTraining(climb(7)), (8 + 1, 7 + 1)),
    (AdversarialTraining(climb(5, starts="uniform", restarts=3)), (3 * 6 + 1, 3 * 5 + 1)),
    (FastAdversarialTraining(BALL), (1 + 1, 1 + 1)),
    (FreeAdversarialTraining(BALL, replays=4), (4, 4)),
    (LargerLossTraining(climb(3)), (4 + 2 + 1, 3 + 1)),
    (MART(climb(3)), (4 + 2, 3 + 2)),
    (TRADES(climb(3, KLDivergence())), (1 + 4 + 2, 3 + 2)),  # and one for the clean prediction
    (AdversarialWeightPerturbation(AdversarialTraining(climb(3))), (4 + 1 + 1, 3 + 1 + 1)),
    (GradientAlignment(StandardTraining(), perturbations=BALL), (3, 2 + 3 + 1)),
]


@pytest.mark.parametrize(("method", "passes"), PLAIN, ids=[f"{number}" for number in range(len(PLAIN))])
def test_passes_are_those_counted_by_hand(method: Method, passes: tuple[float, float]) -> None:
    (x, labels), model = batch(), nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).train()
    cost = gradients_per_image(method, model, x, labels.classes, drawn())

    assert (cost.classifier_forward, cost.classifier_backward) == passes
    assert cost.auxiliary_forward == cost.auxiliary_backward == 0
    assert cost.gradients == passes[1]


ONE = Adversary(BALL, BinaryCrossEntropy(), STEP)
DUAL: list[tuple[Method, tuple[float, ...], tuple[float, ...]]] = [
    # Of separate networks, and of two heads on one body, where what serves both counts once.
    (DualS1(ONE), (2, 2, 2 + 1, 1 + 1), (2, 2, 2, 1)),
    (DualS1(ONE, auxiliary_adversarial=True), (2, 2, 2 + 2, 1 + 2), (2, 2, 2, 1)),
    (DualS1(climb(5, BinaryCrossEntropy())), (2, 2, 6 + 1, 5 + 1), (2, 2, 6, 5)),
    (DualS2(ONE, OWN), (2 + 2, 1 + 2, 2 + 1, 1 + 1), (2 + 2, 1 + 2, 2 + 1, 1 + 1)),
    (DualS2(ONE, OWN, auxiliary_adversarial=True), (2 + 2, 1 + 2, 2 + 2, 1 + 2), (4, 3, 3, 2)),
    (DualS2(ONE, OWN, combine="added"), (2 + 1, 1 + 1, 2 + 1, 1 + 1), (3, 2, 3, 2)),
    (DualS2(ONE, OWN, **RULES), (2 + 2, 1 + 2, 2 + 3, 1 + 3), (4, 3, 3, 2)),
]


@pytest.mark.parametrize(("method", "apart", "shared"), DUAL, ids=[f"{number}" for number in range(len(DUAL))])
def test_passes_of_two_networks_are_those_counted_by_hand(method: Method, apart: Any, shared: Any) -> None:
    x, labels = batch()
    assert counted(gradients_per_image(method, network(), x, labels, drawn())) == apart
    assert counted(gradients_per_image(method, network(shared=True), x, labels, drawn())) == shared


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        (DualS1(ONE, auxiliary=frozen()), (2, 2, 2, 1)),
        (DualS2(ONE, OWN, auxiliary=frozen(), **RULES), (2 + 2, 1 + 2, 2 + 2, 1)),
        (AdversarialWeightPerturbation(DualS1(ONE, auxiliary=frozen())), (2 + 2, 2 + 2, 2, 1)),
    ],
)
def test_passes_of_a_frozen_helper_are_those_counted_by_hand(method: Method, passes: tuple[float, ...]) -> None:
    x, labels = batch()
    assert counted(gradients_per_image(method, classifier(), x, labels, drawn())) == passes


def test_training_of_many_labels_is_counted_too() -> None:
    x, labels = batch()
    for method, passes in ((MultiLabelTraining(), (1, 1, 0, 0)), (MultiLabelTraining(adversary=FOOL), (3, 2, 0, 0))):
        assert counted(gradients_per_image(method, frozen(), x, labels.states, drawn())) == passes


@pytest.mark.parametrize(("objective", "forward"), [(FeatureDistance("1"), 3), (LinearFeatureDistance("1"), 0)])
def test_passes_that_end_inside_count(objective: Any, forward: int) -> None:
    """Three steps more are three passes more; of a network made linear, which is passed once, three gradients."""
    (x, labels), model = batch(), classifier()
    few, many = (
        gradients_per_image(FeatureAdversarialTraining(climb(steps, objective)), model, x, labels.classes, drawn())
        for steps in (2, 5)
    )
    assert many.classifier_forward - few.classifier_forward == forward
    assert many.classifier_backward - few.classifier_backward == 3


def test_images_that_an_attack_drops_cost_no_more() -> None:
    x, model = batch()[0], nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    wrong = (model(x).argmax(1) + 1) % 4  # turned before the first step
    cost = gradients_per_image(AdversarialTraining(climb(20, stop_on_success=True)), model, x, wrong, drawn())

    assert cost.gradients < 21


@pytest.mark.parametrize("method", [LEARNING[0], LEARNING[3], HELPED[1], FreeAdversarialTraining(BALL, replays=2)])
def test_all_is_left_as_it_was(method: Method) -> None:
    x, labels = batch()
    model = network() if method in LEARNING else classifier()
    targets = labels.classes if isinstance(method, FreeAdversarialTraining) else labels
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    gradients_per_image(method, model, x, targets)

    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(bool((parameter.grad == 1).all()) for parameter in model.parameters())
    for module in [*model.modules(), *(getattr(method, "auxiliary", None) or nn.Identity()).modules()]:
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(module.training for module in model.modules())
    assert x.grad is None


def test_hooks_are_gone_when_the_method_refuses() -> None:
    (x, labels), model = batch(), classifier()
    with pytest.raises(ValueError, match="labels must be within"):
        gradients_per_image(StandardTraining(), model, x, labels.classes + 4, drawn())
    assert not model._forward_hooks


def test_no_image_has_no_mean() -> None:
    x, labels = batch()
    with pytest.raises(ValueError, match="images must hold at least one, got none"):
        gradients_per_image(StandardTraining(), classifier(), x[:0], labels.classes[:0])


def test_a_ball_of_another_norm_costs_the_same() -> None:
    x, labels = batch()
    costs = [
        gradients_per_image(
            DualS1(Adversary(PixelBall(norm, 0.1), BinaryCrossEntropy(), STEP)), network(), x, labels, drawn()
        )
        for norm in ("linf", "l2")
    ]
    assert costs[0] == costs[1]
