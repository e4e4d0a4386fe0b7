from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import LoopSettings
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
    LatentBall,
    Method,
    NoiseAugmentedTraining,
    OneStep,
    OneUpdate,
    PerturbationSet,
    PixelBall,
    ProjectedGradient,
    ProjectedLBFGS,
    Region,
    SpatialBox,
    StandardTraining,
    Worst,
    train_classifier,
)
from perturbsets.fingerprint import digest

ATTACK = Adversary(PixelBall("linf", 0.2), ascent=ProjectedGradient(3))
FAST = Adversary(PixelBall("linf", 0.2), CrossEntropy(), OneStep(step_size=0.25, starts="uniform"))
CROSS_ENTROPY = [
    StandardTraining(),
    AugmentedTraining(SpatialBox()),
    AugmentedTraining(PixelBall("l2", 0.5)),
    AdversarialTraining(ATTACK),
    AdversarialTraining(FAST),
    LargerLossTraining(ATTACK),
    NoiseAugmentedTraining(PixelBall("l2", 0.5), sigma=0.25),
]
METHODS: list[Method] = [
    *CROSS_ENTROPY,
    TRADES(Adversary(PixelBall("l2", 0.5), KLDivergence(), ProjectedGradient(3))),
    MART(ATTACK),
    FastAdversarialTraining(PixelBall("linf", 0.2)),
    FastAdversarialTraining(SpatialBox(), step_size=0.5),
    FreeAdversarialTraining(PixelBall("linf", 0.2), replays=3),
    FreeAdversarialTraining(SpatialBox(), replays=2),
    AdversarialWeightPerturbation(AdversarialTraining(ATTACK)),
    AdversarialWeightPerturbation(TRADES(Adversary(SpatialBox(), KLDivergence(), ProjectedGradient(2)))),
    GradientAlignment(AdversarialTraining(FAST), perturbations=PixelBall("linf", 0.2)),
    AdversarialWeightPerturbation(GradientAlignment(MART(ATTACK), perturbations=SpatialBox())),
    FeatureAdversarialTraining(Adversary(PixelBall("linf", 0.2), FeatureDistance("1"), ProjectedLBFGS(4))),
    FeatureAdversarialTraining(Adversary(SpatialBox(), FeatureDistance("1", activation="none"), ProjectedGradient(2))),
]
SETTINGS = LoopSettings(steps=2, batch=4)


def classifier() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 4, 4), torch.randint(0, 3, (count,))


def data() -> TensorDataset:
    return TensorDataset((255 * torch.rand(12, 1, 4, 4)).to(torch.uint8), torch.randint(0, 3, (12,)))


class Seen(nn.Module):
    """Takes down what it is shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.shown = inner, []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.detach().clone())
        return self.inner(images)


def shown(method: OneUpdate, model: nn.Module, x: Tensor, y: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """What the model to train is shown; what comes before goes through the bare one."""
    seen = Seen(model)
    ((losses, logits),) = method(seen, model, x, y, torch.Generator().manual_seed(seed))
    assert len(seen.shown) == 1
    return seen.shown[0], losses, logits


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_change_the_weights_and_end_in_evaluation_mode(method: Method) -> None:
    model = classifier()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    records = train_classifier(model, data(), method, SETTINGS)

    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert not any(module.training for module in model.modules())
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert {"loss", "accuracy"} <= set(records[-1])
    assert 0 <= records[-1]["accuracy"] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_weights(method: Method) -> None:
    start, pairs = classifier().state_dict(), data()
    ends = []
    for number in range(2):
        torch.manual_seed(number)  # the global state plays no part
        model = classifier()
        model.load_state_dict({name: tensor.clone() for name, tensor in start.items()})
        train_classifier(model, pairs, method, SETTINGS)
        ends.append(model.state_dict())

    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name


@pytest.mark.parametrize("method", METHODS)
def test_vectors_and_volumes_are_trained_on_too(method: Method) -> None:
    if "SpatialBox" in repr(method):
        pytest.skip("it turns images")
    for shape in ((5,), (2, 2, 3, 2)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3))
        before = model[1].weight.detach().clone()
        train_classifier(model, TensorDataset(torch.rand(8, *shape), torch.randint(0, 3, (8,))), method, SETTINGS)
        assert not torch.equal(model[1].weight, before)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_weights_to_train_gather_gradients_and_one_pass_goes_before_each_step(method: Method) -> None:
    (x, y), model = batch(), classifier()
    seen = Seen(model)
    for number, (losses, logits) in enumerate(method(seen, model, x, y, torch.Generator().manual_seed(0)), 1):
        assert len(seen.shown) == number
        assert losses.shape == y.shape
        assert logits.shape == (6, 3)
        assert all(parameter.grad is None for parameter in model.parameters())
        losses.mean().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        model.zero_grad()
    assert x.grad is None
    assert model.training


@pytest.mark.parametrize("method", CROSS_ENTROPY)
def test_losses_are_those_of_the_logits_and_carry_gradients(method: OneUpdate) -> None:
    (x, y), model = batch(), classifier()
    _, losses, logits = shown(method, model, x, y)

    assert_close(losses, F.cross_entropy(logits, y, reduction="none"))
    losses.mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_standard_training_is_shown_the_clean_images() -> None:
    (x, y), model = batch(), classifier()
    assert torch.equal(shown(StandardTraining(), model, x, y)[0], x)


@pytest.mark.parametrize("perturbations", [SpatialBox(), PixelBall("linf", 0.1)])
def test_augmented_training_is_shown_draws_of_the_set(perturbations: PerturbationSet) -> None:
    (x, y), model = batch(), classifier()
    region = perturbations.at(x)

    given = shown(AugmentedTraining(perturbations), model, x, y, seed=4)[0]
    assert_close(given, region.decode(region.sample(generator=torch.Generator().manual_seed(4))))
    assert (given - x).abs().max() > 0


def test_noise_augmented_training_is_shown_normal_noise_in_the_sets_own_unit() -> None:
    x, y = torch.full((400, 1, 4, 4), 0.5), torch.zeros(400, dtype=torch.int64)
    wide = PixelBall("l2", 0.01, bounds=(-math.inf, math.inf))  # noise goes beyond the radius

    noise = (shown(NoiseAugmentedTraining(wide, sigma=0.25), classifier(), x, y)[0] - x).flatten() / 0.25
    assert stats.kstest(noise.double().numpy(), "norm").pvalue > 0.01


def test_adversarial_training_is_shown_what_the_adversary_finds() -> None:
    (x, y), model = batch(), classifier()
    found = ATTACK(model, x, y, generator=torch.Generator().manual_seed(4))

    assert torch.equal(shown(AdversarialTraining(ATTACK), model, x, y, seed=4)[0], found.images)


def test_fast_adversarial_training_is_shown_one_step_from_a_random_start() -> None:
    (x, y), model = batch(), classifier()
    start = FAST.perturbations.at(x).random_start(generator=torch.Generator().manual_seed(4))
    u = start.clone().requires_grad_()
    model.eval()
    F.cross_entropy(model(x + u.view_as(x)), y, reduction="sum").backward()
    model.train().zero_grad()
    stepped = (start + 0.25 * u.grad.sign()).clamp(-0.2, 0.2).view_as(x)
    given = shown(AdversarialTraining(FAST), model, x, y, seed=4)[0]

    for image, first, second in zip(given, x + start.view_as(x), (x + stepped).clamp(0, 1), strict=True):
        assert any(torch.allclose(image, end, atol=1e-6) for end in (first, second))  # the worse of the two
    assert ((given - (x + stepped).clamp(0, 1)).abs() < 1e-6).flatten(1).all(1).sum() >= 4


@dataclass(frozen=True)
class Mirrored(PerturbationSet):
    """Some images turn to their negative, for better or worse."""

    def at(self, images: Any) -> Region:
        class Turned(Region):
            def __init__(self, images: Tensor) -> None:
                self.images, self.ball = images, PixelBall("linf", 0.1).at(images).ball

            @property
            def size(self) -> int:
                return 1

            def decode(self, offsets: Tensor) -> Tensor:
                return 1 - self.images + 0 * offsets[:, :, None, None]

            def select(self, rows: Tensor) -> Region:
                return Turned(self.images[rows])

        return Turned(images)


def test_larger_of_both_takes_the_larger_loss_of_each_image() -> None:
    (x, y), model = batch(40), classifier().eval()
    given, losses, _ = shown(LargerLossTraining(Adversary(Mirrored())), model, x, y)
    with torch.no_grad():
        clean, turned = (F.cross_entropy(model(images), y, reduction="none") for images in (x, 1 - x))

    assert_close(losses.detach(), clean.maximum(turned))
    kept = (given == x).flatten(1).all(1)
    assert torch.equal(kept, clean >= turned)
    assert 0 < kept.sum() < 40


@pytest.mark.parametrize("method", [StandardTraining(), AdversarialTraining(ATTACK)])
@pytest.mark.parametrize(
    ("labels", "message"),
    [(torch.arange(12), "labels must be within 0 and 2"), (torch.full((12,), -1), "labels must be within 0 and 2")],
)
def test_labels_beyond_the_classes_are_refused(method: Method, labels: Tensor, message: str) -> None:
    settings = LoopSettings(steps=1, batch=12)
    with pytest.raises(ValueError, match=message):
        train_classifier(classifier(), TensorDataset(torch.rand(12, 1, 4, 4), labels), method, settings)


def test_metrics_and_checkpoint_are_kept_and_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    model, pairs = classifier(), data()
    records = train_classifier(model, pairs, StandardTraining(), SETTINGS, folder=tmp_path)
    again = classifier()
    repeated = train_classifier(again, pairs, StandardTraining(), SETTINGS, folder=tmp_path)

    assert list(tmp_path.iterdir())
    assert repeated == records
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize("method", [StandardTraining(), AugmentedTraining(SpatialBox())])
def test_a_wrong_label_is_told_whenever_it_comes(method: Method) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 12])
    with pytest.raises(ValueError, match="labels must be within 0 and 2"):
        train_classifier(
            classifier(), TensorDataset(torch.rand(8, 1, 4, 4), labels), method, LoopSettings(steps=4, batch=2)
        )


@pytest.mark.parametrize("method", METHODS)
def test_statistics_see_one_batch_a_step(method: Method) -> None:
    model = classifier()
    train_classifier(model, data(), method, SETTINGS)

    assert model[2].num_batches_tracked == SETTINGS.steps * getattr(method, "replays", 1)


def test_another_set_does_not_continue_a_training(tmp_path: Path, linear_cvae: Any) -> None:
    first, second = linear_cvae(), linear_cvae()
    with torch.no_grad():
        second._generator.basis[0, 0] += 1e-3
    bank = torch.randn(5, 2)
    methods = [AugmentedTraining(LatentBall(model, 1.0, bank=bank)) for model in (first, first, second)]
    methods += [
        AugmentedTraining(LatentBall(first, 1.0, bank=bank + 1e-4)),
        AugmentedTraining(LatentBall(first, 1.1, bank=bank)),
        StandardTraining(),
    ]
    methods += [AdversarialTraining(Worst([Adversary(method.perturbations)])) for method in methods[1:4:2]]
    methods += [AdversarialWeightPerturbation(method) for method in methods[1:4:2]]
    digests = [digest(method) for method in methods]

    assert digests[0] == digests[1]
    assert len(set(digests)) == len(digests) - 1
    train_classifier(classifier(), data(), AugmentedTraining(SpatialBox()), SETTINGS, folder=tmp_path)
    with pytest.raises(ValueError, match="other settings"):
        train_classifier(classifier(), data(), AugmentedTraining(PixelBall("l2", 0.5)), SETTINGS, folder=tmp_path)
