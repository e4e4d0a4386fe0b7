from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    APGD,
    Adversary,
    Ascent,
    CrossEntropy,
    GradientAscent,
    Margin,
    PixelBall,
    ProjectedGradient,
    ProjectedLBFGS,
    RandomSearch,
    Region,
)
from tests.perturbsets.every_ascent import ASCENTS, pixels_or_else_places


def batch(count: int = 5) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 6, 6), torch.randint(0, 3, (count,))


def test_images_that_are_reached_leave_and_the_others_lose_nothing() -> None:
    x, y = torch.rand(32, 8), torch.randint(0, 3, (32,))
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    settings = {"steps": 20, "step_size": 0.05, "starts": "zero"}

    whole = Adversary(PixelBall("linf", 0.3), ascent=ProjectedGradient(**settings))(model, x, y)  # type: ignore[arg-type]
    stopped = Adversary(PixelBall("linf", 0.3), ascent=ProjectedGradient(**settings, stop_on_success=True))(model, x, y)  # type: ignore[arg-type]

    assert_close(stopped.success, whole.success)
    assert stopped.calls.sum() < whole.calls.sum()
    assert_close(stopped.loss[~whole.success], whole.loss[~whole.success])
    assert (whole.calls == 21).all()


def test_the_best_iterate_is_returned_not_the_last() -> None:
    class Valley(nn.Module):
        """Fooled near 0.55 only, which a coarse step passes over and leaves again."""

        def forward(self, x: Tensor) -> Tensor:
            bump = 1 - 20 * (x[:, :1] - 0.6).abs()
            return torch.cat([torch.zeros_like(bump), bump], 1)

    x, y = torch.full((1, 1), 0.5), torch.tensor([0])
    found = Adversary(PixelBall("linf", 0.4), ascent=ProjectedGradient(7, step_size=0.1, starts="zero"))(Valley(), x, y)

    assert found.success.item()
    assert_close(found.images, torch.full((1, 1), 0.6), atol=1e-5, rtol=0)


class Flat(nn.Module):
    """Gives the first class whatever comes, with a zero gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(x), 2) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_zero_gradient_is_no_success(norm: str) -> None:
    found = Adversary(PixelBall(norm, 0.1))(Flat(), torch.rand(3, 4), torch.zeros(3, dtype=torch.long))  # type: ignore[arg-type]

    assert not found.success.any()
    assert found.images.isfinite().all()


def test_a_model_that_returns_nan_is_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), math.nan) * x.sum()

    with pytest.raises(ValueError, match="model must return finite values, got NaN or infinity on 3 of 3"):
        Adversary(PixelBall("l2", 0.1))(Broken(), torch.rand(3, 4), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 7]), "labels must be within 0 and 1"),
        (torch.tensor([0, -1, 1]), "labels must be within 0 and 1"),
        (torch.tensor([0.0, 1.0, 1.0]), "labels must be one whole class number per image"),
        (torch.tensor([0, 1]), "labels must be one whole class number per image"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversary(PixelBall("l2", 0.1))(Flat(), torch.rand(3, 4), labels)


@pytest.mark.parametrize(
    "images", [torch.rand(2, 4) + 1, torch.full((2, 4), math.nan), torch.ones(2, 4, dtype=torch.uint8)]
)
def test_samples_out_of_bounds_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must"):
        PixelBall("linf", 0.1).at(images)


def test_targets_are_reached_and_signs_are_right() -> None:
    x, target = torch.rand(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    model = nn.Linear(5, 3)
    logits = model(x).detach()

    for objective in (CrossEntropy(targeted=True), Margin(targeted=True)):
        found = Adversary(PixelBall("linf", 1.0), objective, ProjectedGradient(40, restarts=2))(model, x, target)
        assert_close(found.success, model(found.images).argmax(1) == target)
        assert (found.loss >= objective.at(model, x, target)(x, x)[0] - 1e-5).all()
    value, success = Margin().at(model, x, target)(x, x)
    wrong = logits.clone().scatter(1, target[:, None], -math.inf).amax(1)
    assert_close(value.detach(), wrong - logits.gather(1, target[:, None])[:, 0])
    assert_close(success, logits.argmax(1) != target)


def test_without_a_generator_attacks_differ_and_ignore_the_global_seed() -> None:
    x, y = batch()
    adversary = Adversary(PixelBall("linf", 0.2), ascent=RandomSearch(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    offsets = []
    for _ in range(2):
        torch.manual_seed(0)
        offsets.append(adversary(model, x, y).offsets)

    assert not torch.equal(*offsets)


def test_an_ascent_that_does_not_fit_the_set_is_refused() -> None:
    class Picky(RandomSearch):
        def misfit(self, region: Region) -> str | None:
            return f"it wants 3 offsets, got {region.size}: take another" if region.size != 3 else None

    x, y = torch.rand(2, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="ascent must fit the set, got Picky: it wants 3 offsets, got 4"):
        Adversary(PixelBall("linf", 0.1), ascent=Picky())(Flat(), x, y)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(3, 5), r"start must be finite offsets \[3, 4\] of the set, one row per image, got \[3, 5\]"),
        (torch.zeros(2, 4), r"got \[2, 4\]"),
        (torch.zeros(3, 2, 2), r"got \[3, 2, 2\] .*: flatten offsets in the shape of images"),
        (torch.full((3, 4), math.nan), "with 12 NaN or infinite"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversary(PixelBall("l2", 0.1))(Flat(), torch.rand(3, 4), torch.zeros(3, dtype=torch.long), start=start)


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64])
def test_a_start_of_another_type_becomes_one_of_the_set(ascent: Ascent, dtype: torch.dtype) -> None:
    x, y = batch()
    perturbations = pixels_or_else_places(ascent, x)
    start = torch.zeros(5, perturbations.at(x).size, dtype=dtype)
    found = Adversary(perturbations, ascent=ascent)(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), x, y, start=start)

    assert found.offsets.dtype == found.images.dtype == torch.float32


@pytest.mark.parametrize("ascent", [GradientAscent(step_size=0.1), ProjectedGradient(2), APGD(2), ProjectedLBFGS(2)])
@pytest.mark.parametrize("breaks", [lambda x: (x > 0.5).float(), lambda x: x.detach()])
def test_a_model_without_a_gradient_is_an_error_that_says_so(ascent: Ascent, breaks: Any) -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(breaks(x))

    for model in (Broken(4, 3), Broken(4, 3).requires_grad_(False)):
        with pytest.raises(ValueError, match="objective must have a gradient at the offsets for this ascent"):
            Adversary(PixelBall("l2", 0.1), ascent=ascent)(model, torch.rand(3, 4), torch.arange(3))
