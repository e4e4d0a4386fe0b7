"""The attacks on representations and labels, against their formulas and each other."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import Adversary, FeatureDistance, LinearFeatureDistance, OneStep, PixelBall, ProjectedGradient
from perturbsets.ascents import duality_gap
from perturbsets.representations import feature_fgrad, feature_linear, feature_opt, label_fgrad, label_opt

DOUBLE = torch.float64
LAYER = "4"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 24),
        nn.ReLU(),
        nn.Linear(24, 4),
    ).to(DOUBLE)


def pairs(count: int = 16) -> tuple[Tensor, Tensor]:
    sources, guides = torch.rand(2, count, 3, 8, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    return sources, guides


def ratios(images: Tensor) -> Tensor:
    loss = FeatureDistance(LAYER).at(network(), *pairs())
    return (-loss(images, images.flatten(1))[0]).detach().sqrt()


def test_the_feature_adversary_comes_as_near_as_many_small_steps_and_nearer_than_its_relatives() -> None:
    model, (sources, guides), radius = network(), pairs(), 4 / 255
    found = feature_opt(LAYER, radius=radius)(model, sources, guides)
    steps = Adversary(PixelBall("linf", radius), FeatureDistance(LAYER), ProjectedGradient(500, schedule="cosine"))
    linear, one = (attack(LAYER, radius=radius)(model, sources, guides) for attack in (feature_linear, feature_fgrad))

    for each in (found, linear, one):
        assert ((each.images - sources).abs() <= radius + 1e-12).all()
        assert 0 <= each.images.min() <= each.images.max() <= 1
    assert_close(ratios(found.images), (-found.loss).sqrt())
    assert abs(ratios(found.images).mean() / ratios(steps(model, sources, guides).images).mean() - 1) < 0.01
    assert (ratios(found.images) <= ratios(linear.images) + 1e-6).float().mean() > 0.9
    assert ratios(found.images).mean() < ratios(linear.images).mean() < ratios(one.images).mean()


def test_values_of_the_linear_attack_are_proven() -> None:
    model, (sources, guides), radius = network(), pairs(), 4 / 255
    found = feature_linear(LAYER, radius=radius)(model, sources, guides)
    loss = LinearFeatureDistance(LAYER).at(model, sources, guides)
    gap = duality_gap(PixelBall("linf", radius).at(sources), loss, found.offsets)

    assert (gap <= 1e-3 * found.loss.abs()).all()


@pytest.mark.parametrize("radius", [10 / 255, 0.5])
def test_one_step_is_the_sign_of_the_gradient_of_the_distance_wherever_it_leads(radius: float) -> None:
    model, (sources, guides) = network(), pairs()
    x = sources.clone().requires_grad_()
    part = model[:5]
    ((gradient),) = torch.autograd.grad((part(x) - part(guides)).square().sum(), x)
    found = feature_fgrad(LAYER, radius=radius)(model, sources, guides)

    assert_close(found.images, (sources - radius * gradient.sign()).clamp(0, 1))
    if radius == 0.5:
        assert (found.loss < -1).any()  # farther than the source


def test_one_step_to_a_label_is_the_sign_of_the_gradient_of_its_cross_entropy() -> None:
    model, (sources, _) = network(), pairs()
    targets = (model(sources).argmax(1) + 1) % 4
    x = sources.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), targets, reduction="sum"), x)
    found = label_fgrad()(model, sources, targets)

    assert_close(found.images, (sources - 10 / 255 * gradient.sign()).clamp(0, 1))
    assert torch.equal(found.success, model(found.images).argmax(1) == targets)
    assert found.calls.tolist() == [2] * 16


def test_steps_that_lower_the_value_are_returned_only_when_asked_for() -> None:
    model, (sources, guides) = network(), pairs()
    ball, objective = PixelBall("linf", 0.5), FeatureDistance(LAYER)
    staying, leaping = (
        Adversary(ball, objective, OneStep(keep_best=stay))(model, sources, guides) for stay in (True, False)
    )
    worse = leaping.loss < -1

    assert worse.any()
    assert (staying.images[worse] == sources[worse]).all()
    assert_close(staying.images[~worse], leaping.images[~worse])


def test_the_nearest_image_of_a_class_lies_at_the_boundary_of_a_linear_model() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).to(DOUBLE)
    x = 0.45 + 0.1 * torch.rand(6, 1, 3, 4, dtype=DOUBLE)  # so far from the bounds that they take no part
    logits = model(x).detach()
    targets = 1 - logits.argmax(1)
    slopes = (model[1].weight[1] - model[1].weight[0]).detach().norm()
    found = label_opt(model, x, targets, rounds=12, largest=1e4)

    assert torch.equal(model(found.images).argmax(1), targets)
    assert_close((found.images - x).flatten(1).norm(dim=1), found.radii)
    margin = (logits[:, 1] - logits[:, 0]).abs() / slopes
    assert (found.radii >= margin - 1e-9).all()
    assert (found.radii <= 1.02 * margin).all()


def test_targets_that_are_never_predicted_have_no_distance() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(DOUBLE)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([100.0, 0.0]))
    x = torch.rand(2, 1, 2, 2, dtype=DOUBLE)
    found = label_opt(model, x, torch.tensor([1, 1]), rounds=2, steps=5)

    assert found.radii.tolist() == [math.inf] * 2
    assert torch.equal(found.images, x)
