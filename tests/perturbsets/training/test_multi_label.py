from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import LoopSettings
from perturbsets import (
    AdversarialTraining,
    AdversarialWeightPerturbation,
    Adversary,
    OneStep,
    PixelBall,
    ProjectedGradient,
    StandardTraining,
    train_classifier,
)
from perturbsets.fingerprint import digest
from perturbsets.models import Thresholded
from perturbsets.multi_label import BinaryCrossEntropy, MultiLabelTraining, balancing_weights, choose_thresholds
from perturbsets.training import DualTargets
from perturbsets.training.method import accuracy

NAN = math.nan
BALL = PixelBall("linf", 0.1)
ATTACK = Adversary(BALL, BinaryCrossEntropy(), ProjectedGradient(3))
SETTINGS = LoopSettings(steps=2, batch=4)


def states(count: int, labels: int = 3) -> Tensor:
    """Some of them unknown, one at least of each image known."""
    drawn = torch.randint(0, 2, (count, labels)).float()
    unknown = torch.rand(count, labels) < 0.3
    unknown[:, 0] = False
    return drawn.masked_fill(unknown, NAN)


def network(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, outputs))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss_by_hand(logits: Tensor, z: Tensor, weights: list[float], positive: list[float]) -> Tensor:
    """The formula, image by image and label by label, with probabilities in double precision."""
    rows = []
    for s, states_of_image in zip(logits.double().sigmoid(), z, strict=True):
        terms = [
            -w * (p * state * s[j].log() + (1 - state) * (1 - s[j]).log())
            for j, (state, w, p) in enumerate(zip(states_of_image.tolist(), weights, positive, strict=True))
            if not math.isnan(state)
        ]
        rows.append(torch.stack(terms).mean())
    return torch.stack(rows)


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize(
    ("weights", "positive"), [(None, None), ([0.5, 0.0, 2.0], None), ([1.0, 3.0, 2.0], [4, 0.5, 1])]
)
def test_loss_and_gradient_are_those_of_the_formula(weights: Any, positive: Any, tensors: bool) -> None:
    x, z, model = torch.rand(6, 1, 4, 4), states(6), network().eval()
    given = {"weights": weights, "positive": positive}
    kind = torch.tensor if tensors else lambda values: tuple(map(float, values))
    method = MultiLabelTraining(**{name: None if value is None else kind(value) for name, value in given.items()})
    ((losses, logits),) = method(model, model, x, z, drawn())
    expected = loss_by_hand(model(x), z, weights or [1.0] * 3, positive or [1.0] * 3)

    assert_close(losses, expected.float())
    assert_close(logits, model(x))
    got, want = (torch.autograd.grad(v.mean(), list(model.parameters())) for v in (losses, expected))
    assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_unknown_states_teach_nothing() -> None:
    x, z, model = torch.rand(6, 1, 4, 4), states(6), network()
    z[:, 1] = NAN
    ((losses, _),) = MultiLabelTraining()(model, model, x, z, drawn())
    losses.mean().backward()

    assert not model[4].weight.grad[1].any()
    assert model[4].weight.grad[0].any()


def test_training_is_on_an_adversarys_images() -> None:
    x, z, model = torch.rand(6, 1, 4, 4), states(6), network().eval()
    found = ATTACK(model, x, z, generator=drawn(4))
    ((losses, _),) = MultiLabelTraining(adversary=ATTACK)(model, model, x, z, drawn(4))

    assert_close(losses, loss_by_hand(model(found.images), z, [1.0] * 3, [1.0] * 3).float())
    assert (losses > loss_by_hand(model(x), z, [1.0] * 3, [1.0] * 3)).all()


METHODS = [
    MultiLabelTraining(),
    MultiLabelTraining(adversary=ATTACK),
    AdversarialWeightPerturbation(MultiLabelTraining(positive=(1.0, 2.0, 3.0))),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("dual", [False, True])
def test_it_trains_on_states_with_and_without_classes(method: Any, integers: bool, dual: bool) -> None:
    z = torch.randint(0, 2, (12, 3)) if integers else states(12)
    parts = [(255 * torch.rand(12, 1, 4, 4)).to(torch.uint8), *([torch.arange(12) % 4] if dual else []), z]
    model = network()
    before = model[1].weight.detach().clone()
    records = train_classifier(model, TensorDataset(*parts), method, SETTINGS)

    assert not torch.equal(model[1].weight, before)
    assert 0 <= records[-1]["accuracy"] <= 1
    assert model[2].num_batches_tracked == SETTINGS.steps


def test_training_learns_labels_whose_states_are_half_unknown() -> None:
    """Label j is on where pixel j is bright."""
    x = torch.rand(2000, 1, 4, 4)
    truth = (x.flatten(1)[:, :3] > 0.5).float()
    known = torch.rand(2000, 3) < 0.5
    known[:, 0] |= ~known.any(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    data = TensorDataset(x, truth.masked_fill(~known, NAN))
    records = train_classifier(model, data, MultiLabelTraining(), LoopSettings(steps=300, batch=100, learning_rate=0.5))

    assert records[-1]["accuracy"] > 0.95
    fresh = torch.rand(2000, 1, 4, 4)
    assert accuracy(model(fresh), (fresh.flatten(1)[:, :3] > 0.5).float()) > 0.95


@pytest.mark.parametrize("method", [StandardTraining(), AdversarialTraining(Adversary(BALL, ascent=OneStep()))])
def test_methods_for_classes_take_the_classes_of_dual_data(method: Any) -> None:
    x, y, z = torch.rand(12, 1, 4, 4), torch.arange(12) % 4, states(12)
    ends = []
    for data in (TensorDataset(x, y), TensorDataset(x, y, z)):
        torch.manual_seed(0)
        model = network(4)
        ends.append((train_classifier(model, data, method, SETTINGS), model.state_dict()))

    assert ends[0][0] == ends[1][0]
    assert_close(ends[0][1], ends[1][1], rtol=0, atol=0)


def test_accuracy_is_the_share_of_what_is_known() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [-0.1, 3.0, 0.0]])
    z = torch.tensor([[1.0, 1.0, NAN], [0.0, NAN, 0.0]])
    y = torch.tensor([0, 2])

    assert accuracy(logits, z) == 0.75  # a logit of 0 is off
    assert accuracy(logits, y) == accuracy(logits, DualTargets(y, z)) == 0.5
    maps = torch.tensor([[[0, 1]], [[0, 255]]])
    assert accuracy(torch.zeros(2, 2, 1, 2), maps) == 0.75  # a map counts by its labelled pixels


@pytest.mark.parametrize(
    ("z", "given", "message"),
    [
        (torch.full((12, 3), 2.0), {}, "labels must be 0, 1 or NaN, got 2 as label 0 of row 0"),
        (torch.full((12, 3), NAN), {}, "labels must have a known state for each image, got none in rows 0, 1"),
        (torch.zeros(12, 4), {}, r"model must return one logit for each label, \[12, 4\], got \[12, 3\]"),
        (torch.arange(12), {}, r"labels must be states \[12, L\]"),
        (torch.zeros(12, 3), {"positive": (1.0, 2.0)}, r"positive must be one for each of the 3 labels, got \[2\]"),
        (torch.zeros(12, 3), {"weights": torch.ones(4)}, r"weights must be one for each of the 3 labels, got \[4\]"),
    ],
)
def test_what_does_not_fit_is_refused(z: Tensor, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_classifier(
            network(),
            TensorDataset(torch.rand(12, 1, 4, 4), z),
            MultiLabelTraining(**given),
            LoopSettings(steps=1, batch=12),
        )


def test_states_are_refused_by_methods_for_classes() -> None:
    with pytest.raises(ValueError, match=r"data must give \(image, class number\) .* got \[4, 3\] of torch.float32"):
        train_classifier(network(), TensorDataset(torch.rand(12, 1, 4, 4), states(12)), StandardTraining(), SETTINGS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"positive": (1.0, 0.0)}, "positive must be above 0"),
        ({"positive": (1.0, NAN)}, "positive must be above 0"),
        ({"positive": (1.0, math.inf)}, "positive must be above 0"),
        ({"weights": (1.0, -1.0)}, "weights must be 0 or more"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": torch.tensor([NAN, 1.0])}, "weights must be 0 or more"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiLabelTraining(**given)


def test_every_setting_is_in_the_name() -> None:
    methods = [
        MultiLabelTraining(),
        MultiLabelTraining(positive=(1.0, 2.0)),
        MultiLabelTraining(positive=(2.0, 1.0)),
        MultiLabelTraining(weights=(2.0, 1.0)),
        MultiLabelTraining(adversary=ATTACK),
    ]
    assert len({digest(method) for method in methods}) == len(methods)


def test_balanced_weights_make_on_states_count_as_much_as_off_states() -> None:
    z = states(200)
    z[:, 1] = (torch.rand(200) < 0.2).float()
    weights = balancing_weights(z)

    on, off = ((z == state).sum(0) for state in (1, 0))
    assert_close(weights * on, off.float())


def test_balanced_weights_are_cut_and_labels_of_unknown_states_weigh_one() -> None:
    z = torch.tensor([[1.0, 0.0, NAN, 1.0], [1.0, 0.0, NAN, 0.0], [1.0, 0.0, NAN, 0.0]])

    assert_close(balancing_weights(z, largest=4.0), torch.tensor([0.25, 4.0, 1.0, 2.0]))
    assert_close(balancing_weights(z[:, [0, 1, 3]].long(), largest=1.0), torch.ones(3))
    for largest in (0.5, math.inf, NAN):
        with pytest.raises(ValueError, match="largest must be a finite weight of 1 or more"):
            balancing_weights(z, largest=largest)


SCORES = {"f1": lambda z, on: f1_score(z, on, zero_division=0), "balanced_accuracy": balanced_accuracy_score}


@pytest.mark.parametrize("metric", list(SCORES))
@pytest.mark.parametrize("grid", [None, 0.5])  # the second with equal logits
def test_no_threshold_is_better_by_an_exhaustive_search(metric: Any, grid: float | None) -> None:
    logits, z = torch.randn(40, 6), states(40, 6)
    logits += 0.7 * z.nan_to_num(0.5) + torch.linspace(-2, 2, 6)
    if grid is not None:
        logits = (logits / grid).round() * grid
    thresholds = choose_thresholds(logits, z, metric=metric)

    for j in range(6):
        known = ~z[:, j].isnan()
        s, truth = logits[known, j], z[known, j]
        every = [-100.0, *(s + 1e-4).tolist(), *(s - 1e-4).tolist()]
        scores = [SCORES[metric](truth, s > t) for t in every]
        assert SCORES[metric](truth, s > thresholds[j]) == pytest.approx(max(scores))
        assert (s - thresholds[j]).abs().min() > 0  # none lies on the threshold


def test_zero_is_kept_where_no_threshold_is_better() -> None:
    logits = torch.tensor([[-3.0, 1.0, 2.0], [-2.0, 2.0, 3.0], [4.0, 3.0, 4.0], [5.0, 4.0, 9.0]])
    z = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, NAN], [1.0, 1.0, 1.0]])

    assert_close(choose_thresholds(logits, z), torch.tensor([0.0, 2.5, 0.0]))  # the last is never off
    assert_close(choose_thresholds(logits, z.masked_fill(z == 1, 0.0)), torch.zeros(3))


def test_neighbouring_floating_point_numbers_have_a_threshold_between() -> None:
    low = torch.tensor(1.0)
    logits = torch.stack([low, low.nextafter(torch.tensor(2.0))])[:, None]
    threshold = choose_thresholds(logits, torch.tensor([[0.0], [1.0]]))

    assert (logits > threshold).flatten().tolist() == [False, True]


@pytest.mark.parametrize(
    ("logits", "metric", "message"),
    [
        (torch.zeros(4, 2), "f1", r"one logit for each label, \[4, 3\], got \[4, 2\]"),
        (torch.full((4, 3), NAN), "f1", "finite logits"),
    ],
)
def test_thresholds_are_not_chosen_from_what_is_broken(logits: Tensor, metric: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_thresholds(logits, torch.zeros(4, 3), metric=metric)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_label_is_on_above_its_threshold(dtype: torch.dtype) -> None:
    inner, thresholds = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).to(dtype), torch.tensor([-1.0, 0.0, 0.3])
    model, x = Thresholded(inner, thresholds), torch.randn(50, 1, 4, 4, dtype=dtype)

    assert torch.equal(model(x) > 0, inner(x) > thresholds.to(dtype))
    assert model(x).dtype == dtype
    assert set(model.state_dict()) == {"thresholds", "model.1.weight", "model.1.bias"}
    assert digest(model) != digest(Thresholded(inner, thresholds + 1))
    found = ATTACK(model.float(), x.float().sigmoid(), torch.ones(50, 3))
    assert_close(found.loss, F.softplus(-model(found.images)).mean(1).detach())


def test_thresholds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="thresholds must be finite"):
        Thresholded(nn.Flatten(), torch.tensor([0.0, NAN]))
    with pytest.raises(ValueError, match=r"one logit for each of the 3 thresholds, got \[2, 16\]"):
        Thresholded(nn.Flatten(), torch.zeros(3))(torch.zeros(2, 1, 4, 4))
