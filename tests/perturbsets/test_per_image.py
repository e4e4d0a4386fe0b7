"""Numbers for each image: checked once, and shared out with the images they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import Fog
from perturbsets import (
    APGD,
    Adversary,
    ApproximationError,
    ComposedSet,
    CrossEntropy,
    DrawnChanges,
    GradientAscent,
    LatentBall,
    Margin,
    OneStep,
    Penalized,
    PerturbationSet,
    PixelBall,
    ProjectedAdam,
    ProjectedGradient,
    SpatialBox,
    Standardized,
    Worst,
    audit,
    evaluate_robustness,
)
from perturbsets.evaluation import correct_under
from perturbsets.rows import set_per_image
from perturbsets.sets import L1Ball, L2Ball, LinfBall

RADII = [0.0, 0.05, 0.1, 0.2, 0.4, 0.8]
ROWS = torch.tensor([4, 1, 3])
SETTINGS: dict[str, Any] = {
    "pixels": lambda r: PixelBall("l2", r),
    "spatial": lambda r: SpatialBox(radius=r),
    "composed": lambda r: ComposedSet([PixelBall("linf", 0.1), SpatialBox()], radius=r),
    "standardized": lambda r: Standardized(PixelBall("l2", 1.0), sigma=0.5, radius=r),
    "l1": L1Ball,
    "l2": L2Ball,
    "linf": LinfBall,
    "price": lambda r: Penalized(CrossEntropy(), weight=r),
    "tolerance": lambda r: ApproximationError(tolerance=r),
}
STEPS: dict[str, Any] = {
    "plain": lambda size: GradientAscent(step_size=size),
    "one": lambda size: OneStep(step_size=size),
    "pgd": lambda size: ProjectedGradient(step_size=size),
    "adam": lambda size: ProjectedAdam(step_size=size),
    "apgd": lambda size: APGD(step_size=size),
}


def value(settings: Any) -> Any:
    return next(getattr(settings, name) for name in settings.per_image if hasattr(settings, name))


@pytest.mark.parametrize("make", [*SETTINGS.values(), *STEPS.values()], ids=[*SETTINGS, *STEPS])
def test_numbers_sequences_arrays_and_tensors_mean_the_same_and_are_shared_out(make: Any) -> None:
    numbers = [radius + 0.01 for radius in RADII]
    for given in (numbers, tuple(numbers), torch.tensor(numbers, dtype=torch.float64)):
        stored = value(make(given))
        assert isinstance(stored, Tensor)
        assert stored.tolist() == numbers
        assert value(make(given).select(ROWS)).tolist() == [numbers[row] for row in ROWS.tolist()]
    for one in (1.0, np.float64(1)):
        assert type(value(make(one))) is float
        assert make(one).select(ROWS) is not None
        assert value(make(one).select(ROWS)) == 1.0
    assert value(make([0.5]).select(torch.tensor([], dtype=torch.int64))).shape == (0,)


@pytest.mark.parametrize("make", [*SETTINGS.values(), *STEPS.values()], ids=[*SETTINGS, *STEPS])
def test_what_is_no_number_for_each_image_is_refused(make: Any) -> None:
    for wrong in (-1.0, math.nan, [0.1, -1.0], torch.tensor([0.1, math.nan])):
        with pytest.raises(
            ValueError, match=r"must be (0 or more|above 0|within \[0, 1\]).*, got (-1|nan)( for image 1 of 2)?$"
        ):
            make(wrong)
    with pytest.raises(ValueError, match="got 2 numbers for 5 images or more: give one for each"):
        make([0.5, 0.5]).select(ROWS)


@pytest.mark.parametrize("radius", [RADII, torch.tensor(RADII)])
def test_a_list_of_radii_bounds_each_image_by_its_own(radius: Any) -> None:
    x, model = torch.rand(6, 1, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    y = model(x).argmax(1)
    found = Adversary(PixelBall("linf", radius, bounds=(-1.0, 2.0)), ascent=ProjectedGradient(20))(model, x, y)

    assert_close((found.images - x).flatten(1).abs().amax(1), torch.tensor(RADII))
    with pytest.raises(ValueError, match=r"radius must be a number or one per image, got \[6\] numbers for 3 images"):
        PixelBall("l2", radius).at(x[:3])
    kept = PixelBall("l2", radius).select(torch.arange(3))  # as the message advises
    assert_close(kept.at(x[:3]).ball.radii(torch.zeros(3, 1))[:, 0], torch.tensor(RADII[:3]))


@dataclass(frozen=True)
class Untyped:
    radius: Any

    def __post_init__(self) -> None:
        set_per_image(self, "radius", lambda r: r >= 0, "0 or more")


def test_other_kinds_of_numbers_are_converted_or_refused() -> None:
    for one in (1, np.float32(1), torch.tensor(1), torch.tensor(1.0, dtype=torch.float64)):
        assert type(Untyped(one).radius) is float
    for several in ([1, 2], np.array([1, 2]), torch.tensor([1, 2]), [torch.tensor(1.0), torch.tensor(2.0)]):
        assert Untyped(several).radius.is_floating_point()
        assert Untyped(several).radius.tolist() == [1, 2]
    assert Untyped([]).radius.shape == (0,)
    assert Untyped(None).radius is None
    for wrong in ("0.1", ["a"], object(), [0.1, None]):
        with pytest.raises(ValueError, match=r"radius must be 0 or more; got .*, which is no number"):
            Untyped(wrong)
    with pytest.raises(ValueError, match=r"got numbers of shape \[2, 1\], give one per image"):
        Untyped(torch.ones(2, 1))


def adversary(linear_cvae: Any, count: int) -> Adversary:
    """With a number for each image wherever there can be one."""
    numbers = torch.linspace(0.1, 1, count)
    learned, pixels = LatentBall(linear_cvae(), numbers), PixelBall("linf", 0.1 * numbers)
    composed = ComposedSet((learned, pixels), radius=numbers)
    return Adversary(
        composed,
        Penalized(Margin(), weight=0.1 * numbers),
        ProjectedGradient(4, step_size=0.2 * numbers, starts="zero"),
    )


def test_an_adversary_for_some_images_finds_what_it_finds_among_all(linear_cvae: Any) -> None:
    x = 0.3 + 0.4 * torch.rand(8, 1, 2, 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    y, rows = model(x).argmax(1), torch.tensor([6, 0, 5])
    whole = adversary(linear_cvae, 8)
    kept = whole.select(rows)
    found, some = whole(model, x, y), kept(model, x[rows], y[rows])

    assert_close(some.loss, found.loss[rows])
    assert_close(some.images, found.images[rows])
    assert isinstance(kept, Adversary)
    assert kept.objective.weight.shape == kept.ascent.step_size.shape == (3,)  # type: ignore[attr-defined]
    assert whole.objective.weight.shape == (8,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("drop_successes", [True, False])
def test_the_worst_of_several_for_some_images_is_that_among_all(drop_successes: bool) -> None:
    x, model = torch.rand(40, 1, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    y, rows, numbers = model(x).argmax(1), torch.arange(25, 35), torch.linspace(0.01, 0.3, 40)
    climb = ProjectedGradient(4, step_size=numbers / 3, starts="zero")
    both = Worst(
        [Adversary(PixelBall("linf", numbers / 5), ascent=climb), Adversary(PixelBall("l2", numbers), ascent=climb)],
        judge=Penalized(Margin(), weight=numbers),
        drop_successes=drop_successes,
    )
    found, some = both(model, x, y), both.select(rows)(model, x[rows], y[rows])

    assert 0 < int(found.success.sum()) < 40
    assert_close(some.images, found.images[rows])
    assert_close(some.loss, found.loss[rows])


@pytest.mark.parametrize("radius", [0.1, [0.1] * 300, torch.linspace(0, 0.2, 300)])
def test_evaluation_in_batches_takes_one_radius_per_image(radius: Any) -> None:
    x, model = torch.rand(300, 1, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    y = model(x).argmax(1)
    attack = Adversary(PixelBall("linf", radius), ascent=OneStep())
    right = correct_under(model, attack, x, y)

    assert torch.equal(right, ~attack(model, x, y).success)
    with pytest.raises(ValueError, match="radius must be a number or one per image, got 200 numbers for 300 images"):
        correct_under(model, Adversary(PixelBall("linf", [0.1] * 200), ascent=OneStep()), x, y)


def test_settings_without_a_number_for_each_image_stay_themselves() -> None:
    for settings in (
        PixelBall("l2", 0.5),
        ComposedSet([PixelBall("l2", 0.5), SpatialBox()]),
        DrawnChanges(Fog()),
        Adversary(PixelBall("l2", 0.5)),
        ProjectedGradient(),
        ApproximationError(),
    ):
        assert settings.select(ROWS) is settings


@dataclass(frozen=True)
class Wrapper(PerturbationSet):
    """A set of a user's, without a word on sharing out."""

    inner: PerturbationSet
    named: dict[str, PerturbationSet]
    radius: Any = 1.0

    def at(self, images: Any) -> Any:
        return self.inner.at(images)


class Plain(PerturbationSet):
    def __init__(self, inner: PerturbationSet) -> None:
        self.inner = inner

    def at(self, images: Any) -> Any:
        return self.inner.at(images)


def test_a_wrapper_of_a_users_shares_out_what_it_holds() -> None:
    wrapped = Wrapper(Wrapper(PixelBall("l2", RADII), {}), {"other": PixelBall("l1", RADII)}, [1, 2, 3, 4, 5, 6])
    kept = wrapped.select(ROWS)
    expected = torch.tensor(RADII)[ROWS]

    assert_close(kept.inner.inner.radius, expected, check_dtype=False)  # type: ignore[attr-defined]
    assert_close(kept.named["other"].radius, expected, check_dtype=False)  # type: ignore[attr-defined]
    assert kept.radius.tolist() == [5, 2, 4]
    plain = Plain(PixelBall("l2", 0.5))
    assert plain.select(ROWS) is plain
    with pytest.raises(ValueError, match=r"Plain must be a dataclass for \['inner'\]"):
        Plain(PixelBall("l2", RADII)).select(ROWS)
    assert replace(wrapped, radius=2.0).select(ROWS).radius == 2.0


@pytest.mark.parametrize("count", [3, 5])
def test_as_many_numbers_as_images_are_asked_for_where_batches_are_made(count: int) -> None:
    model, x, y = nn.Flatten(), torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    ball = PixelBall("linf", [0.1] * count)
    attack = Adversary(ball, ascent=ProjectedGradient(2))
    for call in (
        lambda: correct_under(model, attack, x, y, batch=2),
        lambda: evaluate_robustness(model, x, y, ball, steps=2, queries=2, batch=2),
        lambda: audit(attack, model, x, y, draws=2, batch=2),
        lambda: Worst([attack], drop_successes=True)(model, x, y),
    ):
        with pytest.raises(ValueError, match=rf"radius must be .* one per image, got {count} numbers for 4 images"):
            call()
