"""The adaptive attacker: its formula, its goal, its counts, and that it leaves the auxiliary classifier alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    DLR,
    Adversary,
    ApproximationError,
    Ascent,
    CrossEntropy,
    FeatureDistance,
    KLDivergence,
    LatentBall,
    Margin,
    Objective,
    OneStep,
    Penalized,
    PixelBall,
    ProjectedGradient,
    RandomSearch,
    StrongestWrong,
    Worst,
)
from perturbsets.knowledge import BoundRules, RulePenalized, Rules
from tests.perturbsets.every_ascent import ASCENTS, is_stopping, pixels_or_else_places

DOUBLE = torch.float64
STILL = ProjectedGradient(20, starts="zero")
INNER: list[Objective] = [
    CrossEntropy(),
    CrossEntropy(targeted=True),
    Margin(),
    DLR(),
    KLDivergence(),
    StrongestWrong(1, objective=Margin(targeted=True)),
    Penalized(KLDivergence(), weight=0.3),
]


def four_rules() -> BoundRules:
    classes = {"w": "a and b", "x": "a", "y": "not a and b", "z": "c or not b"}
    return Rules(("a", "b", "c"), classes).bind(["c", "a", "b"], list(classes))


def networks(dtype: torch.dtype = DOUBLE, size: int = 36) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, 4))
    auxiliary = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, 3))
    return classifier.to(dtype), auxiliary.to(dtype)


def batch(count: int = 4, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    return torch.rand(count, 1, 6, 6).to(dtype), torch.arange(count) % 4


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("limit", [None, 0.6])
def test_value_and_goal_are_those_of_the_formula(inner: Objective, limit: float | None) -> None:
    (classifier, auxiliary), (x, y), rules = networks(), batch(), four_rules()
    changed = torch.rand_like(x)
    offsets = (changed - x).flatten(1)
    loss = RulePenalized(inner, rules, auxiliary, weight=0.7, limit=limit).at(classifier, x, y)
    plain = inner.at(classifier, x, y)
    agreed = (classifier(changed).softmax(1) * rules.evidence(auxiliary(changed)).exp()).sum(1)
    value, success = plain(changed, offsets)

    assert loss.calls == plain.calls
    found = loss(changed, offsets)
    assert_close(found[0], value + 0.7 * agreed.log())
    assert torch.equal(found[1], success if limit is None else success & (1 - agreed <= limit))
    rows = torch.tensor([2, 0])
    kept = loss.select(rows)(changed[rows], offsets[rows])
    assert_close(kept[0], found[0][rows])
    assert torch.equal(kept[1], found[1][rows])


def test_its_gradient_is_that_of_both_terms() -> None:
    (classifier, auxiliary), (x, y), rules = networks(), batch(2), four_rules()
    loss = RulePenalized(CrossEntropy(), rules, auxiliary, weight=0.7).at(classifier, x, y)

    def value(images: Tensor) -> Tensor:
        return loss(images, images.flatten(1))[0]

    assert torch.autograd.gradcheck(value, x.clone().requires_grad_())


def test_without_a_price_it_is_the_other_objective() -> None:
    (classifier, auxiliary), (x, y), rules = networks(), batch(), four_rules()
    free, plain = (
        Adversary(PixelBall("linf", 0.2), objective, STILL)(classifier, x, y)
        for objective in (RulePenalized(CrossEntropy(), rules, auxiliary, weight=0.0), CrossEntropy())
    )

    assert_close(free.images, plain.images, rtol=0, atol=1e-12)
    assert_close(free.loss, plain.loss)


def test_a_weight_of_1_takes_back_the_pull_of_cross_entropy() -> None:
    """As its documentation warns: for certain predictions all that is left is the logarithm of their evidence."""
    (classifier, auxiliary), (x, _), rules = networks(), batch(), four_rules()
    certain = nn.Sequential(classifier, Scaled(100.0))
    y = certain(x).argmax(1)
    images = x.clone().requires_grad_()
    value = RulePenalized(CrossEntropy(), rules, auxiliary, weight=1.0).at(certain, x, y)(images, images.flatten(1))[0]
    alone = rules.evidence(auxiliary(images)).gather(1, y[:, None])[:, 0]
    clear = certain(x).softmax(1).amax(1) > 1 - 1e-6

    assert clear.any()
    assert_close(value[clear], alone[clear], rtol=0, atol=1e-4)
    for row in clear.nonzero()[:, 0]:
        gradients = [torch.autograd.grad(each[row], images, retain_graph=True)[0] for each in (value, alone)]
        assert_close(gradients[0], gradients[1], rtol=0, atol=1e-3)


def corner() -> tuple[nn.Module, nn.Module, BoundRules]:
    """The class is the sign of the first coordinate, the label that of the second, and both are to agree."""
    classifier, auxiliary = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[-5.0, 0.0], [5.0, 0.0]]))
        auxiliary.weight.copy_(torch.tensor([[0.0, 10.0]]))
    return classifier, auxiliary, Rules(("a",), {"low": "not a", "high": "a"}).bind(["a"], ["low", "high"])


def test_who_knows_of_the_detector_gets_past_it() -> None:
    classifier, auxiliary, rules = corner()
    x, y = torch.tensor([[-0.5, -0.5], [0.5, 0.5]]), torch.tensor([0, 1])
    ball = PixelBall("linf", 1.0, bounds=(-1.0, 1.0))
    plain, adaptive = (
        Adversary(ball, objective, STILL)(classifier, x, y)
        for objective in (CrossEntropy(), RulePenalized(CrossEntropy(), rules, auxiliary, limit=0.05))
    )
    violations = [rules.violation(classifier(found.images), auxiliary(found.images)) for found in (plain, adaptive)]

    assert plain.success.all()
    assert adaptive.success.all()
    assert (violations[0] > 0.95).all()
    assert (violations[1] < 0.05).all()
    assert_close(adaptive.images, -torch.sign(x) * 0.5, rtol=0, atol=1e-6)  # the far corner of the ball: both turned


def test_an_attack_that_cannot_meet_the_limit_does_not_succeed() -> None:
    classifier, auxiliary, rules = corner()
    x, y = torch.tensor([[-0.1, -0.9]]), torch.tensor([0])
    objective = RulePenalized(CrossEntropy(), rules, auxiliary, limit=0.05)
    ball = PixelBall("linf", 0.5, bounds=(-1.0, 1.0))
    found, without = (Adversary(ball, each, STILL)(classifier, x, y) for each in (objective, CrossEntropy()))

    assert without.success.all()
    assert not found.success.any()


TOWARDS = StrongestWrong(1, objective=Margin(targeted=True))


@pytest.mark.parametrize(
    ("ascent", "inner"),
    [(each, CrossEntropy()) for each in ASCENTS] + [(each, TOWARDS) for each in ASCENTS if is_stopping(each)],
)
def test_every_ascent_climbs_it_and_every_pass_is_counted(ascent: Ascent, inner: Objective) -> None:
    (classifier, auxiliary), (x, y) = networks(), batch()
    seen = {"classifier": 0, "auxiliary": 0}
    for name, model in (("classifier", classifier), ("auxiliary", auxiliary)):
        model.register_forward_hook(
            lambda _, given, __, name=name: seen.update({name: seen[name] + len(given[0])})  # type: ignore[misc]
        )
    objective = RulePenalized(inner, four_rules(), auxiliary, limit=0.7)
    perturbations = pixels_or_else_places(ascent, x)
    binding = objective.at(classifier, x, y).calls * len(x)
    seen.update(classifier=0, auxiliary=0)
    found = Adversary(perturbations, objective, ascent)(classifier, x, y, generator=torch.Generator().manual_seed(0))
    passes = dict(seen)

    assert passes["classifier"] == found.calls.sum()
    assert passes["auxiliary"] == passes["classifier"] - binding
    again = objective.at(classifier, x, y)(found.images, found.offsets)
    assert_close(again[0].detach(), found.loss, rtol=1e-9, atol=1e-12)
    assert torch.equal(again[1], found.success)


class Noisy(nn.Module):
    """Statistics, dropout, draws of its own, a frozen weight, a gradient, and submodules in different modes."""

    def __init__(self, outputs: int, fails_at: float = math.inf) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
        self.norm, self.head = nn.BatchNorm1d(64), nn.Linear(64, outputs)
        self.fails_at, self.modes = fails_at, list[bool]()
        self.train()
        self.norm.eval()
        self.body[0].weight.requires_grad_(False)
        self.head.bias.grad = torch.ones(outputs)

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(any(module.training for module in self.modules()))
        if len(self.modes) == self.fails_at:
            raise RuntimeError("enough")
        return self.head(self.norm(self.body(x + 0.01 * torch.randn_like(x)).flatten(1)))


def everything(*models: nn.Module) -> list[Any]:
    parts = [
        (
            [module.training for module in model.modules()],
            [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in model.parameters()],
            {name: tensor.tolist() for name, tensor in model.state_dict().items()},
        )
        for model in models
    ]
    return [parts, torch.get_rng_state().tolist(), np.asarray(np.random.get_state(legacy=True)[1]).tolist()]


@pytest.mark.parametrize("ascent", [OneStep(), ProjectedGradient(3), RandomSearch(2)])
@pytest.mark.parametrize("mode", ["eval", "keep"])
@pytest.mark.parametrize("fails_at", [math.inf, 2])
def test_the_auxiliary_classifier_is_left_as_it_was(ascent: Ascent, mode: Any, fails_at: float) -> None:
    torch.manual_seed(0)
    classifier, auxiliary, (x, y) = Noisy(4), Noisy(3, fails_at), batch(dtype=torch.float32)
    before, copy = everything(classifier, auxiliary), x.clone()
    adversary = Adversary(
        PixelBall("linf", 0.2), RulePenalized(CrossEntropy(), four_rules(), auxiliary), ascent, mode=mode
    )
    if fails_at < math.inf:
        with pytest.raises(RuntimeError, match="enough"):
            adversary(classifier, x, y)
    else:
        adversary(classifier, x, y)

    assert everything(classifier, auxiliary) == before
    assert not any(auxiliary.modes)  # in evaluation mode, whatever the classifier's
    assert any(classifier.modes) is (mode == "keep")
    assert torch.equal(x, copy)


class Both(nn.Module):
    """One trunk with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.classes, self.labels = nn.Linear(8, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.trunk(x))


def test_an_auxiliary_classifier_may_share_layers_with_the_classifier() -> None:
    torch.manual_seed(0)
    model, (x, y) = Both(), batch(dtype=torch.float32)
    auxiliary = nn.Sequential(model.trunk, model.labels)
    before = everything(model, auxiliary)
    objective = RulePenalized(CrossEntropy(), four_rules(), auxiliary)
    found = Adversary(PixelBall("linf", 0.1), objective, ProjectedGradient(3))(model, x, y)

    assert found.loss.isfinite().all()
    assert everything(model, auxiliary) == before


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_types_and_contexts_make_no_difference(context: Any, dtype: torch.dtype) -> None:
    (classifier, auxiliary), (x, y) = networks(dtype), batch(dtype=dtype)
    adversary = Adversary(PixelBall("l2", 0.5), RulePenalized(Margin(), four_rules(), auxiliary, limit=0.9))
    with context():
        found = adversary(classifier, x, y)

    assert found.images.dtype == dtype
    assert found.loss.isfinite().all()
    assert not found.images.requires_grad


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("ascent", [ascent for ascent in ASCENTS if is_stopping(ascent)])
def test_empty_and_single_batches_work(count: int, ascent: Ascent) -> None:
    (classifier, auxiliary), (x, y) = networks(), batch(count)
    objective = RulePenalized(CrossEntropy(), four_rules(), auxiliary, limit=0.5)
    found = Adversary(pixels_or_else_places(ascent, x), objective, ascent)(classifier, x, y)

    assert found.images.shape == x.shape


def test_one_image_alone_gives_what_it_gives_in_its_batch() -> None:
    (classifier, auxiliary), (x, y) = networks(), batch()
    adversary = Adversary(
        PixelBall("linf", 0.2), RulePenalized(CrossEntropy(), four_rules(), auxiliary, limit=0.6), STILL
    )
    whole = adversary(classifier, x, y)
    for row in range(len(x)):
        alone = adversary(classifier, x[row : row + 1], y[row : row + 1])
        assert_close(alone.images[0], whole.images[row], rtol=0, atol=1e-12)
        assert_close(alone.loss[0], whole.loss[row])


def test_learned_sets_and_several_weights_do(linear_cvae: Any) -> None:
    cvae = linear_cvae().double().requires_grad_(False)
    (classifier, auxiliary), x = networks(size=6), 0.3 + 0.4 * torch.rand(3, 1, 2, 3, dtype=DOUBLE)
    attacks = [
        Adversary(LatentBall(cvae, 0.6), RulePenalized(Margin(), four_rules(), auxiliary, weight=weight))
        for weight in (0.1, 1.0, 10.0)
    ]
    found = Worst(attacks)(classifier, x, torch.tensor([0, 1, 2]))

    assert found.images.shape == x.shape


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": -1.0}, "weight must be 0 or more and finite, got -1"),
        ({"weight": math.nan}, "weight must be 0 or more and finite, got nan"),
        ({"weight": math.inf}, "got inf"),
        ({"limit": 1.5}, "limit must be a violation within 0 and 1, or None for no limit, got 1.5"),
        ({"limit": math.nan}, "got nan"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RulePenalized(CrossEntropy(), four_rules(), nn.Identity(), **settings)


def test_what_does_not_fit_is_refused() -> None:
    (classifier, auxiliary), (x, y), rules = networks(), batch(), four_rules()
    with pytest.raises(ValueError, match="model must be a classifier for this objective, got None"):
        RulePenalized(CrossEntropy(), rules, auxiliary).at(None, x, y)
    with pytest.raises(ValueError, match=r"label_logits must be \[B, 3\], .* got \[4, 4\]"):
        RulePenalized(CrossEntropy(), rules, classifier).at(classifier, x, y)(x, x.flatten(1))
    with pytest.raises(ValueError, match=r"class_logits must be \[B, 4\], .* got \[4, 3\]"):
        RulePenalized(CrossEntropy(), rules, auxiliary).at(auxiliary, x, y % 3)(x, x.flatten(1))
    with pytest.raises(ValueError, match="objective must ask the classifier for its logits at each call"):
        RulePenalized(ApproximationError(), rules, auxiliary).at(classifier, x, x.flip(0))(x, x.flatten(1))
    with pytest.raises(ValueError, match="layer"):
        RulePenalized(FeatureDistance("1", activation="none"), rules, auxiliary).at(classifier, x, x.flip(0))
