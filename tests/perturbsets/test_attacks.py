"""Attacks by name: against closed forms, and against the same attack built by hand."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import perturbsets
from augment import SpatialChange
from cvae import SpatialCVAE
from perturbsets import (
    APGD,
    DLR,
    Adversary,
    CrossEntropy,
    GridSearch,
    LatentBall,
    Margin,
    OneStep,
    PixelBall,
    ProjectedGradient,
    RandomSearch,
    SpatialBox,
    Square,
    StrongestWrong,
    Worst,
    attacks,
    bisect,
    evaluate_robustness,
    fast_minimum_norm,
)
from perturbsets.representations import feature_opt, label_opt

NAMES = sorted(name for name in vars(attacks) if name[0] != "_" and inspect.isfunction(getattr(attacks, name)))
IN_BALL = ["fgsm", "r_fgsm", "bim", "pgd", "mi_fgsm", "apgd", "square"]
SMALL = {
    "apgd": {"steps": 5},
    "apgd_t": {"steps": 3, "targets": 2},
    "autoattack": {"steps": 3, "queries": 5},
    "carlini_wagner": {"steps": 5, "rounds": 2},
    "square": {"queries": 10},
    "spatial": {"draws": 3},
}


def network(classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, classes)).eval()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def small(name: str) -> Any:
    """An attack of few steps; those of a set, of layers and of guides are tested by themselves."""
    return getattr(attacks, name)(**SMALL.get(name, {}))


BALL = PixelBall("linf", radius=0.1)
LATENT = LatentBall(SpatialCVAE(latent=4, height=8, width=8), radius=2.0)
BY_HAND: list[tuple[Any, Adversary]] = [
    (attacks.fgsm(radius=0.1), Adversary(BALL, CrossEntropy(), OneStep(keep_best=False))),
    (attacks.fgsm(), Adversary(PixelBall("linf", radius=8 / 255), CrossEntropy(), OneStep(keep_best=False))),
    (
        attacks.r_fgsm(radius=0.1),
        Adversary(BALL, CrossEntropy(), OneStep(step_size=0.125, starts="uniform", keep_best=False)),
    ),
    (
        attacks.bim(radius=0.1, targeted=True),
        Adversary(BALL, CrossEntropy(targeted=True), ProjectedGradient(steps=10, step_size=0.1 / 8, starts="zero")),
    ),
    (attacks.pgd(radius=0.1), Adversary(BALL, CrossEntropy(), ProjectedGradient(steps=20, step_size=0.025))),
    (
        attacks.pgd(norm="l2", restarts=2, targeted=True),
        Adversary(PixelBall("l2", radius=0.5), CrossEntropy(targeted=True), ProjectedGradient(steps=20, restarts=2)),
    ),
    (
        attacks.mi_fgsm(radius=0.1),
        Adversary(BALL, CrossEntropy(), ProjectedGradient(steps=10, step_size=0.01, starts="zero", momentum=1.0)),
    ),
    (attacks.apgd(radius=0.1, steps=9), Adversary(BALL, CrossEntropy(), APGD(steps=9))),
    (
        attacks.apgd(norm="l1", loss="dlr", steps=9),
        Adversary(PixelBall("l1", radius=12.0), DLR(), APGD(steps=9)),
    ),
    (
        attacks.square(radius=0.1, queries=40),
        Adversary(BALL, Margin(), Square(queries=40, p_init=0.8, stop_on_success=True)),
    ),
    (
        attacks.square(norm="l2", queries=40, targeted=True),
        Adversary(PixelBall("l2", radius=0.5), CrossEntropy(targeted=True), Square(queries=40, stop_on_success=True)),
    ),
    (
        attacks.spatial(shift=0.0),
        Adversary(
            SpatialBox(change=SpatialChange(rotation=30.0, scale=(1.0, 1.0), shift=0.0)),
            CrossEntropy(),
            GridSearch(points=(31, 1, 1, 1), stop_on_success=True),
        ),
    ),
    (
        attacks.spatial(scale=(0.9, 1.1), draws=4),
        Adversary(
            SpatialBox(change=SpatialChange(rotation=30.0, scale=(0.9, 1.1), shift=0.1)),
            CrossEntropy(),
            RandomSearch(draws=4),
        ),
    ),
    (attacks.random_search(BALL, draws=4), Adversary(BALL, CrossEntropy(), RandomSearch(draws=4))),
    (
        attacks.latent_pgd(LATENT, steps=4),
        Adversary(LATENT, CrossEntropy(), ProjectedGradient(steps=4, step_size=0.1, stop_on_success=True)),
    ),
    (
        attacks.latent_pgd(LATENT, radius=1.0, steps=4, step_size=0.5, targeted=True),
        Adversary(
            LatentBall(LATENT.model, radius=1.0),
            CrossEntropy(targeted=True),
            ProjectedGradient(steps=4, step_size=0.5, stop_on_success=True),
        ),
    ),
]


@pytest.mark.parametrize("number", range(len(BY_HAND)))
def test_presets_are_the_attacks_built_by_hand(number: int) -> None:
    preset, adversary = BY_HAND[number]
    model, images, labels = network(), torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    one, other = (attack(model, images, labels, generator=seeded()) for attack in (preset, adversary))

    assert torch.equal(one.images, other.images)
    assert torch.equal(one.success, other.success)
    assert torch.equal(one.calls, other.calls)


def test_smallest_changes_are_those_of_the_searches_underneath() -> None:
    model, images, labels = network(), torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    pairs = [
        (attacks.fmn(norm="linf", steps=9), fast_minimum_norm(model, images, labels, norm="linf", steps=9)),
        (attacks.lbfgs(steps=9, rounds=3, targeted=True), label_opt(model, images, labels, steps=9, rounds=3)),
    ]
    for preset, expected in pairs:
        result = preset(model, images, labels, generator=seeded())
        assert torch.equal(result.radii, expected.radii)
        assert torch.equal(result.images, expected.images)


def test_feature_adversary_is_that_of_the_representations() -> None:
    model, sources, guides = network(), torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    one, other = (
        attack(model, sources, guides, generator=seeded())
        for attack in (attacks.feature_adversary("1", radius=0.1, steps=9), feature_opt("1", radius=0.1, steps=9))
    )

    assert torch.equal(one.images, other.images)


def test_targeted_apgd_tries_the_strongest_wrong_classes_in_order() -> None:
    model, images, labels = network(), torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    ascent = APGD(steps=4, stop_on_success=True)
    members = [Adversary(BALL, StrongestWrong(rank=rank), ascent) for rank in (1, 2, 3)]
    one, other = (
        attack(model, images, labels, generator=seeded())
        for attack in (attacks.apgd_t(radius=0.1, targets=3, steps=4), Worst(members, drop_successes=True))
    )

    assert torch.equal(one.images, other.images)
    assert torch.equal(one.member, other.member)


def test_autoattack_is_the_fixed_ensemble() -> None:
    model, images, labels = network(), torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    settings: dict[str, Any] = {"steps": 4, "queries": 9, "targets": 2}
    expected = evaluate_robustness(model, images, labels, BALL, **settings)
    results = [
        attacks.autoattack(radius=0.1, **settings)(model, images, labels),
        attacks.autoattack(sets=BALL, **settings)(model, images, labels, batch=6),
    ]
    drawn = [attacks.autoattack(**settings)(model, images, labels, generator=seeded()) for _ in range(2)]

    for result in results:
        assert result.members == expected.members
        assert torch.equal(result.images, expected.images)
    assert torch.equal(drawn[0].images, drawn[1].images)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1.0), ("l2", 2.0)])
def test_fgsm_is_the_best_change_of_a_linear_model(norm: Any, dual: float) -> None:
    model, images = nn.Linear(6, 2).double(), 0.5 + 0.1 * torch.rand(8, 6, dtype=torch.float64)
    labels, weights = model(images).argmax(1), (model.weight[1] - model.weight[0]).detach()
    result = attacks.fgsm(norm=norm, radius=0.1)(model, images, labels)
    before, after = ((model(x)[:, 1] - model(x)[:, 0]).detach() for x in (images, result.images))

    assert_close((after - before).abs(), (0.1 * weights.norm(p=dual)).expand(8))


@pytest.mark.parametrize(
    ("attack", "tolerance"),
    [
        (attacks.deepfool(), 1e-3),
        (attacks.fmn(steps=200), 1e-2),
        (attacks.carlini_wagner(steps=120), 3e-2),  # of the bisection: penalties lie 4 % apart
        (attacks.lbfgs(rounds=12), 3e-2),
    ],
)
def test_linear_models_of_two_classes_fall_at_margin_over_norm(attack: Any, tolerance: float) -> None:
    model, images = nn.Linear(6, 2).double(), 0.5 + 0.02 * torch.randn(8, 6, dtype=torch.float64)
    with torch.no_grad():
        model.bias -= model(images).mean(0) + torch.tensor([0.05, 0.0], dtype=torch.float64)
    labels, weights = model(images).argmax(1), (model.weight[0] - model.weight[1]).detach()
    exact = (model(images)[:, 0] - model(images)[:, 1]).abs().detach() / weights.norm()
    result = attack(model, images, labels, generator=seeded())

    assert_close(result.radii, exact, rtol=tolerance, atol=1e-4)
    assert (result.radii >= exact * (1 - 1e-9)).all()
    assert (model(result.images).argmax(1) != labels).all()
    assert not result.clean.any()


def test_deepfool_finds_the_nearest_of_many_boundaries() -> None:
    model, images = nn.Linear(20, 4).double(), 0.5 + 0.01 * torch.randn(12, 20, dtype=torch.float64)
    with torch.no_grad():
        model.bias -= model(images).mean(0)
    logits, labels = model(images).detach(), model(images).argmax(1)
    slopes = (model.weight[None] - model.weight[labels][:, None]).detach().norm(dim=2)
    distances = (logits.gather(1, labels[:, None]) - logits) / slopes
    exact = distances.scatter(1, labels[:, None], math.inf).amin(1)
    result = attacks.deepfool()(model, images, labels)

    assert_close(result.radii, exact, rtol=1e-3, atol=1e-9)
    assert_close((result.images - images).norm(dim=1), result.radii)
    assert (result.radii <= attacks.deepfool(candidates=1)(model, images, labels).radii * (1 + 1e-12)).all()


def test_misclassified_images_need_no_change() -> None:
    model, images = network(), torch.rand(6, 1, 8, 8)
    wrong = (model(images).argmax(1) + 1) % 5
    result = attacks.deepfool()(model, images, wrong)

    assert result.clean.all()
    assert (result.radii == 0).all()
    assert torch.equal(result.images, images)


@pytest.mark.parametrize("name", IN_BALL)
def test_radii_may_be_zero_or_one_per_image(name: str) -> None:
    model, images, labels = network(), torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2])
    settings: dict[str, Any] = SMALL.get(name, {})
    none = getattr(attacks, name)(radius=0.0, **settings)(model, images, labels)
    each = getattr(attacks, name)(radius=torch.tensor([0.0, 0.1, 0.2]), **settings)(model, images, labels)
    sizes = (each.images - images).flatten(1).abs().amax(1)

    assert torch.equal(none.images, images)
    assert (sizes <= torch.tensor([0.0, 0.1, 0.2]) + 1e-6).all()
    assert sizes[2] > 0.05


@pytest.mark.parametrize("name", sorted({*NAMES} - {"feature_adversary", "latent_pgd", "random_search"}))
def test_attacks_leave_the_model_as_it_was_and_stay_within_bounds(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images, labels = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2])
    result = small(name)(model, images, labels, generator=seeded())

    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert result.images.shape == images.shape
    assert ((result.images >= 0) & (result.images <= 1)).all()


@pytest.mark.parametrize("name", sorted({*NAMES} - {"feature_adversary", "latent_pgd", "random_search", "autoattack"}))
def test_nothing_comes_of_no_images(name: str) -> None:
    result = small(name)(network(), torch.rand(0, 1, 8, 8), torch.zeros(0, dtype=torch.long), generator=seeded())

    assert len(result.images) == 0
    assert len(result.calls) == 0


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_keywords_and_documented(name: str) -> None:
    function = getattr(attacks, name)
    parameters = inspect.signature(function).parameters.values()
    positional = [each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]

    assert positional == {"feature_adversary": ["layers"], "latent_pgd": ["perturbations"]}.get(
        name, ["perturbations"] if name == "random_search" else []
    )
    for each in parameters:
        assert f"        {each.name}: " in function.__doc__
    for section in ("Returns:", "Raises:", "References:", "Example:"):
        assert section in function.__doc__
    assert getattr(perturbsets.attacks, name) is function


def outside(function: Callable[..., Any]) -> Any:
    """The function without the check of types that tests add, which would refuse first."""
    return inspect.unwrap(function)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: outside(attacks.apgd)(loss="hinge"), r"loss must be one of \['ce', 'dlr', 'margin'\], got 'hinge'"),
        (lambda: attacks.pgd(radius=-0.1), "radius must be"),
        (lambda: attacks.pgd(radius=math.nan), "radius must be"),
        (lambda: attacks.pgd(steps=0), "steps must be"),
        (lambda: attacks.mi_fgsm(steps=0), "steps must be"),
        (lambda: attacks.mi_fgsm(momentum=-1.0), "momentum must be"),
        (lambda: attacks.bim(step_size=0.0), "step_size must be"),
        (lambda: attacks.apgd(restarts=0), "restarts must be"),
        (lambda: attacks.square(p_init=0.0), "p_init must be"),
        (lambda: attacks.spatial(rotation=-1.0), "rotation must be"),
        (lambda: attacks.spatial(draws=0), "draws must be"),
        (lambda: attacks.apgd_t(targets=0), "adversaries must hold at least one"),
        (lambda: attacks.autoattack(radius=0.1, sets=BALL), "radius must be left out"),
        (lambda: attacks.deepfool(candidates=0), "candidates must be"),
        (lambda: attacks.carlini_wagner(step_size=-1.0), "step_size must be"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["pgd", "fgsm", "apgd_t"])
def test_unknown_norms_are_refused(name: str) -> None:
    # The type checker that watches the tests refuses an unknown norm before the package can.
    with pytest.raises((ValueError, TypeError), match="norm"):
        getattr(attacks, name)(norm="l3")


def test_more_targets_than_wrong_classes_are_refused() -> None:
    model, images = network(), torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="rank must be within 1 and 4"):
        attacks.apgd_t(radius=0.0, targets=5, steps=1)(model, images, model(images).argmax(1))


@pytest.mark.parametrize(
    ("attack", "images", "message"),
    [
        (attacks.pgd(), torch.full((2, 1, 8, 8), 3.0), "images must"),
        (attacks.square(norm="l2"), torch.rand(2, 64), "it changes squares of pixels"),
        (attacks.deepfool(overshoot=2.0), torch.rand(2, 1, 8, 8), "overshoot in"),
        (attacks.carlini_wagner(largest=0.0), torch.rand(2, 1, 8, 8), "largest must be"),
        (attacks.fmn(rate=2.0), torch.rand(2, 1, 8, 8), "rate in"),
        (attacks.latent_pgd(LATENT), torch.rand(2, 3, 8, 8), "images must"),
    ],
)
def test_bad_images_and_late_settings_are_refused(attack: Any, images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(network(), images, torch.tensor([0, 1]))


def test_smallest_radii_of_presets_can_be_bisected() -> None:
    model, images = network(), torch.rand(4, 1, 8, 8)
    labels = model(images).argmax(1)
    result = bisect(attacks.pgd(steps=10), model, images, labels, largest=0.5, rounds=5)
    smallest = attacks.fmn(norm="linf")(model, images, labels).radii

    assert (result.radii >= smallest * 0.9).all()


@pytest.mark.parametrize(
    ("name", "ours"),
    [("cw", "carlini_wagner"), ("CW", "carlini_wagner"), ("auto_attack", "autoattack"), ("pdg", "pgd")],
)
def test_names_of_other_libraries_and_misspelled_ones_lead_to_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=f"has no {name}: did you mean {ours}"):
        getattr(attacks, name)
    with pytest.raises(AttributeError, match=r"there are .*fgsm"):
        _ = attacks.zzzz


def test_swapped_arguments_and_arrays_are_refused_with_the_order_or_the_conversion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no such checks
    model, images, labels = network(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    with pytest.raises(TypeError, match=r"got Tensor: the order is \(model, images, labels\)"):
        attacks.pgd()(images, labels, model)
    with pytest.raises(TypeError, match=r"write torch\.from_numpy\(images\)"):
        attacks.pgd()(model, images.numpy(), labels)


def test_a_result_prints_in_one_line() -> None:
    result = attacks.fgsm()(network(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))
    assert repr(result).startswith("AttackResult(2 images, ")
