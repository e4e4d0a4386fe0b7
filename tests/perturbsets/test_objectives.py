from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    DLR,
    Adversary,
    ApproximationError,
    CrossEntropy,
    FunctionObjective,
    KLDivergence,
    Margin,
    Objective,
    Penalized,
    PixelBall,
    ProjectedGradient,
    SegmentationCrossEntropy,
    StrongestWrong,
)

LOGITS = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 0.5], [1.0, 1.5, 4.0], [-2.0, 0.3, 0.1]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 2])


def value(objective: Objective, labels: Tensor = LABELS) -> tuple[Tensor, Tensor]:
    return objective.at(nn.Identity(), LOGITS, labels)(LOGITS, LOGITS)


def test_cross_entropy_agrees_with_its_formula() -> None:
    losses, success = value(CrossEntropy())
    logits = LOGITS.numpy()
    by_hand = special.logsumexp(logits, axis=1) - logits[np.arange(4), LABELS.numpy()]

    assert_close(losses, torch.from_numpy(by_hand))
    assert success.tolist() == [False, True, True, True]


def test_margin_agrees_with_its_formula() -> None:
    losses, success = value(Margin())

    assert_close(losses, torch.tensor([1.0 - 2.0, 3.0 - 0.0, 4.0 - 1.5, 0.3 - 0.1], dtype=torch.float64))
    assert success.tolist() == (losses > 0).tolist()


@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
def test_targets_turn_the_sign_and_the_goal(kind: type[CrossEntropy | Margin]) -> None:
    away, reached_away = value(kind())
    to, reached_to = value(kind(targeted=True))

    assert_close(to, -away)
    assert (reached_to == ~reached_away).all()


@pytest.mark.parametrize("kind", [CrossEntropy, Margin, DLR, KLDivergence])
def test_losses_do_not_mix_images(kind: type[Objective]) -> None:
    rows = torch.tensor([3, 1])
    loss = kind().at(nn.Identity(), LOGITS, LABELS)

    assert_close(loss.select(rows)(LOGITS[rows], LOGITS[rows])[0], loss(LOGITS, LOGITS)[0][rows])


@pytest.mark.parametrize("kind", [CrossEntropy, Margin])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_labels_of_any_whole_type_do(kind: type[Objective], dtype: torch.dtype) -> None:
    assert_close(value(kind(), LABELS.to(dtype))[0], value(kind())[0])


@pytest.mark.parametrize("kind", [CrossEntropy, Margin, DLR, KLDivergence])
def test_no_model_is_refused(kind: type[Objective]) -> None:
    with pytest.raises(ValueError, match="model must be a classifier"):
        kind().at(None, LOGITS, LABELS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Unflatten(1, (3, 1)), r"model must return logits \[B, K\] with B = 4, got \[4, 3, 1\]"),
        (nn.Flatten(0), r"got \[12\]"),
        (nn.AdaptiveAvgPool1d(1), "labels must be within 0 and 1 for a model of 2 classes, got 0 to 2"),
    ],
)
def test_logits_that_are_none_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy().at(model, LOGITS, LABELS)(LOGITS, LOGITS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), "labels must be within 0 and 2 for a model of 3 classes, got 0 to 3"),
        (torch.tensor([0, 1, -1, 2]), "got -1 to 2"),
        (torch.tensor([0.0, 1.0, 1.0, 2.0]), r"got \[4\] of torch.float32"),
        (torch.tensor([[0, 0], [1, 1], [1, 1], [2, 2]]), r"got \[4, 2\]"),
        (torch.tensor([0, 1]), r"\[4\] or \[4, 1\], got \[2\]"),
    ],
)
@pytest.mark.parametrize("kind", [CrossEntropy, Margin, DLR, KLDivergence])
def test_labels_that_do_not_fit_are_refused(kind: type[Objective], labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value(kind(), labels)


def test_margin_rises_where_cross_entropy_is_flat() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    for kind, slope in ((CrossEntropy, 0.0), (Margin, -1.0)):
        (gradient,) = torch.autograd.grad(kind().at(nn.Identity(), logits, label)(logits, logits)[0].sum(), logits)
        assert_close(gradient[0, 0], torch.tensor(slope))


def test_approximation_error_is_minus_the_mean_square() -> None:
    images, changed = torch.rand(3, 1, 2, 2), torch.rand(3, 1, 2, 2)
    loss = ApproximationError().at(None, images, changed)
    losses, success = loss(images, images.flatten(1))
    rows = torch.tensor([2])

    for row in range(3):
        assert math.isclose(losses[row].item(), -((images[row] - changed[row]) ** 2).mean().item(), rel_tol=1e-5)
    assert not success.any()
    assert_close(loss.select(rows)(images[rows], images[rows].flatten(1))[0], losses[rows])
    with pytest.raises(ValueError, match="labels must be the changed images"):
        ApproximationError().at(None, images, changed[:, :, :1])


@pytest.mark.parametrize("tolerance", [0.04, torch.tensor([0.09, 0.0, 0.04])])
def test_an_error_within_tolerance_is_near_enough(tolerance: float | torch.Tensor) -> None:
    images = torch.zeros(3, 1, 2, 2)
    changed = images + torch.tensor([0.25, 0.0, 0.15])[:, None, None, None]  # errors 0.0625, 0 and 0.0225
    loss = ApproximationError(tolerance=tolerance).at(None, images, changed)

    wanted = [isinstance(tolerance, torch.Tensor), True, True]
    assert loss(images, images.flatten(1))[1].tolist() == wanted
    rows = torch.tensor([2, 0])
    assert loss.select(rows)(images[rows], images[rows].flatten(1))[1].tolist() == [wanted[2], wanted[0]]


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, torch.tensor([0.1, -0.1])])
def test_impossible_tolerances_are_refused(tolerance: float | torch.Tensor) -> None:
    with pytest.raises(ValueError, match="tolerance must be 0 or more"):
        ApproximationError(tolerance=tolerance)


FIVE = torch.tensor([[3.0, 1.0, 0.5, -1.0, -2.0], [0.0, 2.0, 1.5, 4.0, -3.0]], dtype=torch.float64)


def test_dlr_agrees_with_its_formula() -> None:
    labels = torch.tensor([0, 1])
    values, success = DLR().at(nn.Identity(), FIVE, labels)(FIVE, FIVE)
    targeted, hit = DLR(targeted=True).at(nn.Identity(), FIVE, labels)(FIVE, FIVE)

    assert_close(values, torch.tensor([(1 - 3) / (3 - 0.5), (4 - 2) / (4 - 1.5)], dtype=torch.float64))
    assert success.tolist() == [False, True]
    by_hand = [(3 - 1) / (3 - (0.5 - 1) / 2), (2 - 4) / (4 - (1.5 + 0.0) / 2)]
    assert_close(targeted, torch.tensor(by_hand, dtype=torch.float64))
    assert hit.tolist() == [True, False]


def test_targeted_dlr_is_the_published_one_where_the_true_class_leads() -> None:
    true, target = 3, 1  # of the second row
    ordered = FIVE[1].sort(descending=True).values
    published = -(FIVE[1, true] - FIVE[1, target]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)

    values = DLR(targeted=True).at(nn.Identity(), FIVE[1:], torch.tensor([target]))(FIVE[1:], FIVE[1:])[0]
    assert_close(values[0], published)


@pytest.mark.parametrize("targeted", [False, True])
def test_dlr_is_blind_to_scale_and_offset(targeted: bool) -> None:
    labels = torch.tensor([2, 0])
    plain, changed = (
        DLR(targeted=targeted).at(nn.Identity(), FIVE, labels)(logits, logits)[0] for logits in (FIVE, 1000 * FIVE - 7)
    )
    assert_close(plain, changed)


def test_dlr_survives_equal_logits() -> None:
    logits = torch.zeros(2, 5, requires_grad=True)
    values, _ = DLR().at(nn.Identity(), logits, torch.tensor([0, 1]))(logits, logits)
    (gradient,) = torch.autograd.grad(values.sum(), logits)

    assert_close(values.detach(), torch.zeros(2))
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("classes", "targeted", "least"), [(2, False, 3), (3, True, 4)])
def test_dlr_needs_enough_classes(classes: int, targeted: bool, least: int) -> None:
    logits = torch.rand(2, classes)
    with pytest.raises(ValueError, match=f"at least {least} classes for .*DLR, got {classes}: use Margin"):
        DLR(targeted=targeted).at(nn.Identity(), logits, torch.zeros(2, dtype=torch.long))(logits, logits)


def test_divergence_agrees_with_scipy_and_starts_flat() -> None:
    moved = (LOGITS + 0.3 * torch.randn(4, 3, dtype=torch.float64)).requires_grad_()
    loss = KLDivergence().at(nn.Identity(), LOGITS, LABELS)
    values, success = loss(moved, moved)
    clean, other = (special.softmax(logits.detach().numpy(), axis=1) for logits in (LOGITS, moved))

    assert_close(values.detach(), torch.from_numpy(special.rel_entr(clean, other).sum(1)))
    assert success.tolist() == (moved.argmax(1) != LABELS).tolist()
    still = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(still, still)[0].sum(), still)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


def test_divergence_without_labels_leaves_the_clean_prediction() -> None:
    loss = KLDivergence().at(nn.Identity(), LOGITS, None)

    assert not loss(LOGITS, LOGITS)[1].any()
    assert loss(-LOGITS, LOGITS)[1].all()


def test_segmentation_averages_over_labelled_pixels() -> None:
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    labels[1, 3, 4] = 255
    values, success = SegmentationCrossEntropy().at(nn.Identity(), logits, labels)(logits, logits.flatten(1))

    for row in range(2):
        kept = labels[row] != 255
        expected = nn.functional.cross_entropy(logits[row][:, kept].T, labels[row][kept])
        assert_close(values[row], expected)
    assert not success.any()


def test_segmentation_is_reached_when_few_pixels_are_right() -> None:
    labels = torch.zeros(2, 2, 5, dtype=torch.long)
    logits = torch.zeros(2, 3, 2, 5)
    logits[:, 0] = 1
    logits[1, 1, :, 1:] = 2  # two of ten pixels stay right
    for goal, expected in ((0.0, [False, False]), (0.1, [False, False]), (0.2, [False, True])):
        loss = SegmentationCrossEntropy(goal=goal).at(nn.Identity(), logits, labels)
        assert loss(logits, logits.flatten(1))[1].tolist() == expected
    assert_close(
        loss.select(torch.tensor([1]))(logits[1:], logits[1:].flatten(1))[0], loss(logits, logits.flatten(1))[0][1:]
    )


def test_images_without_a_labelled_pixel_have_no_loss() -> None:
    logits, labels = torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255)
    values, _ = SegmentationCrossEntropy().at(nn.Identity(), logits, labels)(logits, logits.flatten(1))

    assert values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, 3, 3, dtype=torch.long), "model must return logits"),
        (torch.full((2, 2, 2), 3), "labels must be within 0 and 2 or ignore=255, got 3 to 3"),
        (torch.zeros(2, 2, 2), "labels must be a class number per pixel"),
        (torch.zeros(2, dtype=torch.long), "labels must be a class number per pixel"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(labels: Tensor, message: str) -> None:
    logits = torch.randn(2, 3, 2, 2)
    with pytest.raises(ValueError, match=message):
        SegmentationCrossEntropy().at(nn.Identity(), logits, labels)(logits, logits.flatten(1))
    with pytest.raises(ValueError, match="goal must be a share"):
        SegmentationCrossEntropy(goal=1.0)


def test_an_adversary_attacks_a_segmentation_model() -> None:
    model, x = nn.Conv2d(1, 3, 3, padding=1), torch.rand(4, 1, 6, 6)
    labels = model(x).argmax(1)
    found = Adversary(PixelBall("linf", 0.3), SegmentationCrossEntropy(goal=0.5), ProjectedGradient(10))(
        model, x, labels
    )
    right = (model(found.images).argmax(1) == labels).flatten(1).float().mean(1)

    assert (right < 1).all()
    assert torch.equal(found.success, right <= 0.5)


def test_any_function_does() -> None:
    objective = FunctionObjective(
        lambda output, labels: -(output - labels).square().flatten(1).sum(1),
        success=lambda output, labels: (output - labels).flatten(1).norm(dim=1) < 0.01,
    )
    x, goal = torch.full((2, 1, 2, 2), 0.5), torch.full((2, 1, 2, 2), 0.6)
    found = Adversary(PixelBall("linf", 0.2), objective, ProjectedGradient(50, schedule="cosine"))(None, x, goal)

    assert_close(found.images, goal, atol=0.02, rtol=0)
    assert (found.loss > -1e-3).all()
    without = FunctionObjective(lambda output, _: output.flatten(1).sum(1)).at(None, x, None)
    assert not without(x, x.flatten(1))[1].any()
    assert_close(without.select(torch.tensor([1]))(x[1:], x[1:].flatten(1))[0], torch.tensor([2.0]))


@pytest.mark.parametrize("returned", [torch.tensor(1.0), torch.rand(3), torch.tensor([1, 2]), 0.5])
def test_functions_must_return_a_value_per_image(returned: object) -> None:
    x = torch.rand(2, 1, 2, 2)
    with pytest.raises(ValueError, match="function must return one floating-point value per image"):
        FunctionObjective(lambda *_: returned).at(None, x, None)(x, x.flatten(1))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_the_target_is_a_strongest_wrong_class_of_the_clean_sample(rank: int) -> None:
    x, model = torch.rand(6, 8), nn.Linear(8, 5)
    clean = model(x).detach()
    y = clean.argsort(1)[torch.arange(6), torch.tensor([4, 4, 3, 0, 1, 2])]  # right, right, and wrong ones
    loss = StrongestWrong(rank).at(model, x, y)
    others = [
        [k for k in row.argsort(descending=True).tolist() if k != label] for row, label in zip(clean, y, strict=True)
    ]
    targets = torch.tensor([row[rank - 1] for row in others])

    changed = torch.rand(6, 8)
    value, success = loss(changed, changed)
    assert_close(value, DLR(targeted=True).at(model, x, targets)(changed, changed)[0])
    assert_close(success, model(changed).argmax(1) != y)
    rows = torch.tensor([4, 1])
    assert_close(loss.select(rows)(changed[rows], changed[rows])[0], value[rows])
    assert_close(loss.select(rows)(changed[rows], changed[rows])[1], success[rows])


def test_strongest_wrong_refuses_what_it_cannot_do() -> None:
    x, y = torch.rand(2, 4), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="rank must be at least 1"):
        StrongestWrong(0)
    with pytest.raises(ValueError, match="objective must be a targeted one"):
        StrongestWrong(1, objective=Margin())
    with pytest.raises(ValueError, match="rank must be within 1 and 2 for a model of 3 classes, got 3"):
        StrongestWrong(3, objective=Margin(targeted=True)).at(nn.Linear(4, 3), x, y)
    with pytest.raises(ValueError, match="at least 4 classes for targeted DLR, got 3: use Margin"):
        StrongestWrong(1).at(nn.Linear(4, 3), x, y)(x, x)


@pytest.mark.parametrize(
    ("objective", "calls"),
    [
        (CrossEntropy(), 0),
        (KLDivergence(), 1),
        (StrongestWrong(1, objective=Margin(targeted=True)), 1),
        (Penalized(KLDivergence()), 1),
    ],
)
def test_forward_passes_of_binding_are_counted(objective: Objective, calls: int) -> None:
    seen: list[int] = []
    model = nn.Linear(4, 5)
    model.register_forward_hook(lambda *_: seen.append(1))
    found = Adversary(PixelBall("l2", 0.1), objective, ProjectedGradient(5))(model, torch.rand(2, 4), LABELS[:2])

    assert found.calls.tolist() == [len(seen)] * 2 == [6 + calls] * 2
