from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

from augment import Digits
from cvae import LoopSettings
from perturbsets import (
    Adversary,
    CrossEntropy,
    FeatureAdversarialTraining,
    FeatureDistance,
    LinearFeatureDistance,
    PerturbationSet,
    PixelBall,
    ProjectedGradient,
    ProjectedLBFGS,
    SmallConvNet,
    SpatialBox,
    StandardTraining,
    train_classifier,
)
from perturbsets.objectives.feature_distance import FeatureLoss
from perturbsets.training.feature_adversarial import others

BALL = PixelBall("linf", 0.2)
ATTACK = Adversary(BALL, FeatureDistance("1"), ProjectedGradient(3))


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.Linear(12, 3))


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(8, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])


def drawn(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Noted(FeatureDistance):
    """Takes down sources and guides."""

    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def at(self, model: nn.Module | None, images: Tensor, labels: Tensor) -> FeatureLoss:
        self.seen.append((images, labels))
        return super().at(model, images, labels)


def classes_of(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return y[(images[:, None] == x).flatten(2).all(2).int().argmax(1)]


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_loss_and_gradient_are_those_of_the_formula(weight: float) -> None:
    (x, y), model = batch(), network().eval()
    method = FeatureAdversarialTraining(ATTACK, weight=weight)
    changed = method.prepare(model, x, y, drawn())
    losses, logits = method.losses(model, x, changed, y)
    p, q = (model(images).double().softmax(1)[torch.arange(8), y] for images in (x, changed))
    expected = -p.log() - weight * q.log()

    assert_close(losses, expected.float())
    assert_close(logits, model(changed))
    got, want = (torch.autograd.grad(v.mean(), list(model.parameters())) for v in (losses, expected))
    assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_guides_are_images_of_other_classes_and_sources_are_all_images() -> None:
    (x, y), objective = batch(), Noted("1")
    FeatureAdversarialTraining(Adversary(BALL, objective, ProjectedGradient(1))).prepare(network(), x, y, drawn())
    ((sources, guides),) = objective.seen

    assert torch.equal(sources, x)
    assert (classes_of(guides, x, y) != y).all()


def test_guides_are_drawn_evenly_from_the_other_classes() -> None:
    labels, generator = torch.tensor([0, 0, 1, 2, 1]), drawn()
    draws = torch.stack([others(labels, generator) for _ in range(3000)])

    for row, allowed in enumerate([[2, 3, 4], [2, 3, 4], [0, 1, 3], [0, 1, 2, 4], [0, 1, 3]]):
        counts = draws[:, row].bincount(minlength=5)
        assert counts[allowed].sum() == 3000
        assert stats.chisquare(counts[allowed].numpy()).pvalue > 1e-3


def test_what_is_shown_is_what_the_adversary_finds() -> None:
    (x, y), model = batch(), network()
    generator = drawn()
    found = ATTACK(model, x, x[others(y, generator)], generator=generator)

    assert torch.equal(FeatureAdversarialTraining(ATTACK).prepare(model, x, y, drawn()), found.images)
    assert (-found.loss < 0.9).all()  # nearer to the guides' representations than the sources are
    assert ((found.images - x).abs() <= 0.2 + 1e-6).all()


@pytest.mark.parametrize(
    "objective", [FeatureDistance("1", activation="none"), LinearFeatureDistance("1", activation="none")]
)
@pytest.mark.parametrize("perturbations", [PixelBall("l2", 0.5), SpatialBox()])
def test_any_set_and_both_objectives_take_part(objective: Any, perturbations: PerturbationSet) -> None:
    (x, y), model = batch(), network()
    adversary = Adversary(perturbations, objective, ProjectedLBFGS(3))
    changed = FeatureAdversarialTraining(adversary).prepare(model, x, y, drawn())

    assert changed.shape == x.shape
    assert ((changed - x).flatten(1).norm(dim=1) > 1e-3).sum() >= 6


def test_images_without_a_guide_stand_for_themselves() -> None:
    (x, _), model, method = batch(), network().eval(), FeatureAdversarialTraining(ATTACK, weight=2.0)
    for count in (1, 8):
        alone = torch.ones(count, dtype=torch.int64)
        changed = method.prepare(model, x[:count], alone, drawn())
        assert torch.equal(changed, x[:count])
        losses, _ = method.losses(model, x[:count], changed, alone)
        assert_close(losses, 3 * F.cross_entropy(model(x[:count]), alone, reduction="none"))


def test_guides_that_a_layer_cannot_tell_from_their_sources_are_no_end_of_the_training() -> None:
    """The layer is dead on dark images, whose guides are dark in the first batch and bright in the second."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[1].weight.abs_()
        model[1].bias.fill_(-0.4)
    dark, bright = 0.01 * torch.rand(4, 1, 4, 4), 0.5 + 0.5 * torch.rand(4, 1, 4, 4)
    method = FeatureAdversarialTraining(Adversary(BALL, FeatureDistance("2"), ProjectedLBFGS(5)))

    halves = torch.tensor([0, 0, 1, 1])
    assert torch.equal(method.prepare(model, dark, halves, drawn()), dark)
    mixed = torch.cat([dark, bright[:1]])
    changed = method.prepare(model, mixed, torch.tensor([0, 0, 0, 0, 1]), drawn())
    assert (changed[4] != mixed[4]).any()  # the bright one moves towards the dark

    model.eval()
    losses, _ = method.losses(model, mixed, changed, torch.tensor([0, 0, 0, 0, 1]))
    assert losses.isfinite().all()


def test_the_search_leaves_the_model_and_the_global_states_as_they_were() -> None:
    (x, y), model = batch(), network().train()
    model[0].eval()
    before, state, modes = (
        copy.deepcopy(model.state_dict()),
        torch.get_rng_state(),
        [m.training for m in model.modules()],
    )
    FeatureAdversarialTraining(ATTACK).prepare(model, x, y, drawn())

    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_label_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must be one whole class number per image"):
        FeatureAdversarialTraining(ATTACK).prepare(
            network(), batch()[0], torch.zeros(8, 4, 4, dtype=torch.int64), drawn()
        )


def test_objectives_of_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="objective FeatureDistance or LinearFeatureDistance, got CrossEntropy: write"):
        FeatureAdversarialTraining(Adversary(BALL, CrossEntropy()))


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_weights_that_cannot_be_meant_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=f"weight must be a finite number of 0 or more, got {weight}"):
        FeatureAdversarialTraining(ATTACK, weight=weight)


def test_training_makes_representations_of_digits_harder_to_move() -> None:
    """After both trainings a stronger search than the one trained against, towards guides of other classes."""
    data, (x, y) = Digits("train", size=16, digit=14), Digits("test", size=16, digit=14).batch(range(150))
    ball, layer = PixelBall("linf", 0.15), FeatureDistance("layers.6")
    methods = [StandardTraining(), FeatureAdversarialTraining(Adversary(ball, layer, ProjectedGradient(4)))]
    guides, kept, clean = others(y, drawn()), [], []
    for method in methods:
        torch.manual_seed(0)
        model = SmallConvNet(height=16, width=16, widths=(8, 16), hidden=32)
        train_classifier(model, data, method, LoopSettings(steps=250, batch=64, learning_rate=0.01))
        found = Adversary(ball, layer, ProjectedLBFGS(40))(model, x, x[guides], generator=drawn())
        kept.append((model(found.images).argmax(1) == y).double().mean().item())
        clean.append((model(x).argmax(1) == y).double().mean().item())

    assert min(clean) > 0.8
    assert kept[1] > kept[0] + 0.1
