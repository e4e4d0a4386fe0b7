from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from augment import Digits, SpatialChange
from cvae import FitSettings, LoopSettings, SpatialCVAE, fit
from perturbsets import (
    APGD,
    LatentBall,
    NoiseAugmentedTraining,
    SmallConvNet,
    Smoothed,
    find_contradictions,
    train_classifier,
)
from perturbsets.certificates.contradiction import MeanVote
from perturbsets.share_bounds import share_at_most
from tests.perturbsets.certificates.linear import KINDS, WIDE, case, distances, two_classes


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_false_radii_are_found_and_true_ones_stand(kind: str, linear_cvae: Any) -> None:
    perturbations, sigma, unit = case(kind, linear_cvae)
    images, model = torch.linspace(0, 1, 30)[:, None, None, None] * torch.rand(30, 1, 2, 3), two_classes(-0.4)
    distance = distances(model, images, kind, linear_cvae).abs()
    smoothed = Smoothed(model, perturbations, sigma, batch=1024)
    certified = smoothed.certify(images, selection=100, draws=2000, alpha=0.001, generator=draw())
    search = {"ascent": APGD(10), "draws": 2000, "generator": draw(1)}

    right = find_contradictions(smoothed, images, certified, **search)
    assert torch.equal(right.rows, certified.certified.nonzero()[:, 0])
    assert len(right.rows) > 10
    assert not right.contradicted.any()
    far = certified.certified & (distance > 0.3)
    false = replace(certified, radii=torch.where(far, (distance + 0.3) * unit, certified.radii))
    wrong = find_contradictions(smoothed, images, false, **search)
    assert torch.equal(wrong.contradicted, far[wrong.rows])
    # Of a linear model the worst offset is known: there its share is that of 0.3 standard deviations beyond.
    low, high = (stats.binom.ppf(q, 2000, stats.norm.cdf(-0.3)) for q in (1e-6, 1 - 1e-6))
    assert ((wrong.agreed >= low) & (wrong.agreed <= high))[wrong.contradicted].all()
    assert_close(
        wrong.offsets[wrong.contradicted].norm(dim=1).double(),
        distance[wrong.rows][wrong.contradicted] + 0.3,
        rtol=1e-4,
        atol=0,
    )
    assert torch.equal(wrong.bounds, share_at_most(wrong.agreed, 2000, 0.001 / (2 * len(wrong.rows))))
    assert json.loads(json.dumps(wrong.summary()))["contradictions"] == int(far.sum())


def test_the_attack_on_the_mean_climbs_what_votes_follow() -> None:
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), torch.rand(4, 1, 2, 3)
    classes, smoothed = torch.tensor([0, 1, 2, 0]), Smoothed(model, WIDE, 0.5)
    loss = MeanVote(smoothed.standardized, 5, draw()).at(model, images, classes)
    w = torch.randn(4, 6, requires_grad=True)
    noise = torch.randn(5, 6, generator=draw())
    logits = torch.stack([model(images + 0.5 * (w + one).view_as(images)) for one in noise])
    by_hand = -logits.softmax(2).mean(0).gather(1, classes[:, None])[:, 0].log()

    value, success = loss(images, w)
    assert_close(value, by_hand)
    assert torch.equal(success, (logits.argmax(2) == classes).double().mean(0) < 0.5)
    assert_close(torch.autograd.grad(value.sum(), w), torch.autograd.grad(by_hand.sum(), w))
    assert_close(loss.select(torch.tensor([2, 0]))(images[[2, 0]], w[[2, 0]])[0], value[[2, 0]])


def test_nothing_certified_leaves_nothing_to_search() -> None:
    smoothed, images = Smoothed(two_classes(), WIDE, 100.0), torch.rand(3, 1, 2, 3)
    certified = replace(smoothed.certify(images, selection=10, draws=50, alpha=0.01), classes=torch.full((3,), -1))
    found = find_contradictions(smoothed, images, certified)

    assert found.summary() == {
        "searched": 0,
        "contradictions": 0,
        "smallest_share": None,
        "draws": 1000,
        "alpha": 0.001,
    }


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"alpha": math.nan}, "alpha must be above 0"),
        ({"noises": 0}, "noises and draws must be at least 1"),
        ({"draws": 0}, "noises and draws must be at least 1"),
        ({"draws": 9}, "draws must be at least 1[0-9] to certify anything"),
        ({"images": torch.rand(2, 1, 2, 3)}, "one certificate for each of 2 images"),
    ],
)
def test_what_cannot_be_meant_is_refused(named: dict[str, Any], message: str) -> None:
    smoothed, images = Smoothed(two_classes(), WIDE, 0.3), torch.rand(3, 1, 2, 3)
    certified = smoothed.certify(images, selection=10, draws=50, alpha=0.01)
    with pytest.raises(ValueError, match=message):
        find_contradictions(smoothed, **{"images": images, "certified": certified} | named)


def _pairs(images: Tensor, generator: torch.Generator) -> TensorDataset:
    change = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=0.15)
    clean = images.repeat(4, 1, 1, 1)
    return TensorDataset(clean, change.apply(clean, change.draw(len(clean), generator=generator)))


@pytest.mark.slow
def test_no_attack_inside_the_radius_contradicts_a_certificate_of_real_digits(generator: torch.Generator) -> None:
    train, validation, test = (Digits(split) for split in ("train", "validation", "test"))
    model = SpatialCVAE(latent=8)
    settings = FitSettings(steps=400, batch=128, learning_rate=2e-3)
    fit(model, _pairs(train.images, generator), _pairs(validation.images, generator), settings)
    perturbations, sigma = LatentBall(model, 4.0), 0.5
    classifier = SmallConvNet()
    method = NoiseAugmentedTraining(perturbations, sigma=sigma)
    data = TensorDataset(train.images, train.labels)
    train_classifier(classifier, data, method, LoopSettings(steps=400, batch=128, learning_rate=2e-3))
    images, labels = (torch.cat([getattr(part, name) for part in (validation, test)]) for name in ("images", "labels"))
    smoothed = Smoothed(classifier, perturbations, sigma, batch=256)
    certified = smoothed.certify(images, selection=50, draws=400, alpha=0.001, labels=labels, generator=generator)
    search: dict[str, Any] = {"ascent": APGD(30), "noises": 8, "draws": 500, "generator": generator}
    found = find_contradictions(smoothed, images, certified, **search)

    assert certified.correct().double().mean() > 0.8  # the votes are worth an attack
    assert len(found.rows) >= 500
    assert not found.contradicted.any()
    assert float(found.agreed.min()) / 500 < 0.7  # the attack comes near
    # The same search finds contradictions where there are some: beyond the radii.
    beyond = replace(
        certified, radii=4 * certified.radii, classes=certified.classes.index_fill(0, torch.arange(60, 600), -1)
    )
    assert find_contradictions(smoothed, images, beyond, **search).contradicted.any()
