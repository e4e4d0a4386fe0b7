"""What holds for every corruption: each of `CLASSES` runs through every test here."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from augment import Corruption, RandomCorruption
from augment.corruptions import CLASSES, SETTINGS, CommonCorruption, at_severity
from augment.corruptions.severities import check_severity
from augment.functional import draw_seeds

NAMES = sorted(CLASSES)
WITH_GRADIENT = sorted(set(NAMES) - {"jpeg_compression"})
SHAPES = [(8, 8), (9, 31), (96, 64)]

every = pytest.mark.parametrize("name", NAMES)


def pictures(count: int, channels: int = 3, shape: tuple[int, int] = (32, 32)) -> Tensor:
    """Smooth images with an edge, between 0.05 and 0.95."""
    y, x = torch.meshgrid(*(torch.linspace(0, 1, length) for length in shape), indexing="ij")
    phase = torch.rand(count, channels, 1, 1) * 6
    waves = (7 * x + phase).sin() * (5 * y - phase).cos() + (x + y > 0.4 + phase / 6)
    return (waves + 1) / 3 * 0.9 + 0.05


def changed(corruption: CommonCorruption, images: Tensor, seeds: Tensor) -> Tensor:
    return corruption.apply(images, corruption.from_seeds(seeds))


@every
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("severity", [1, 5])
def test_any_size_and_both_kinds_of_colour(name: str, channels: int, shape: tuple[int, int], severity: int) -> None:
    images = pictures(2, channels, shape)

    result = changed(at_severity(name, severity), images, draw_seeds(2))

    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert result.min() >= 0
    assert result.max() <= 1
    assert result.isfinite().all()


@every
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_constants_for_large_images_fit_smaller_ones(name: str, severity: int) -> None:
    images = pictures(2, 3, (64, 64))

    result = changed(at_severity(name, severity, "imagenet-c"), images, draw_seeds(2))

    assert result.min() >= 0
    assert result.max() <= 1
    assert (result - images).abs().mean() > 0.002


@every
def test_an_image_alone_is_as_in_a_batch(name: str) -> None:
    images, seeds = pictures(5), draw_seeds(5)
    for severity in (1, 3, 5):
        corruption = at_severity(name, severity)

        alone = torch.cat([changed(corruption, images[i : i + 1], seeds[i : i + 1]) for i in range(5)])

        assert_close(alone, changed(corruption, images, seeds), atol=2e-6, rtol=0)


@every
def test_seeds_decide_and_nothing_else(name: str) -> None:
    corruption, images, seeds = at_severity(name, 3), pictures(3), draw_seeds(3)
    before = torch.get_rng_state()

    first = changed(corruption, images, seeds)

    assert torch.equal(first, changed(corruption, images, seeds))
    assert torch.equal(before, torch.get_rng_state())
    if corruption.parameter_names:
        other = changed(corruption, images, draw_seeds(3))
        assert ((other - first).abs().flatten(1).amax(1) > 1e-3).all()


@every
def test_settings_per_image_are_those_of_single_calls(name: str) -> None:
    images, seeds = pictures(5), draw_seeds(5)
    corruptions = [at_severity(name, severity) for severity in (1, 2, 3, 4, 5)]
    single = torch.cat([changed(one, images[i : i + 1], seeds[i : i + 1]) for i, one in enumerate(corruptions)])

    rows = corruptions[0].from_seeds(seeds)
    settings = [SETTINGS["cifar-c"][name][severity] for severity in range(5)]
    taken = set(inspect.signature(type(corruptions[0]).function).parameters) & set(settings[0])
    columns = {key: torch.tensor([float(one[key]) for one in settings]) for key in taken}  # type: ignore[arg-type]
    together = type(corruptions[0]).function(images, **{**corruptions[0].arguments(rows), **columns})

    assert_close(together, single, atol=2e-6, rtol=0)


@every
def test_bytes_are_rounded_floats(name: str) -> None:
    images, seeds = (pictures(4) * 255).byte(), draw_seeds(4)
    corruption = at_severity(name, 4)
    rows = corruption.from_seeds(seeds)

    result = type(corruption).function(images, **corruption.arguments(rows))

    floats = type(corruption).function(images.float() / 255, **corruption.arguments(rows))
    assert result.dtype == torch.uint8
    assert torch.equal(result, (floats * 255).round().byte())


@every
def test_types_of_floats_come_back_and_agree(name: str) -> None:
    images, seeds = (pictures(3) * 256).floor() / 256, draw_seeds(3)  # numbers that every type holds
    corruption = at_severity(name, 3)
    single = changed(corruption, images, seeds)

    for dtype, tolerance in ((torch.float64, 2e-5), (torch.float16, 6e-4), (torch.bfloat16, 5e-3)):
        result = changed(corruption, images.to(dtype), seeds)

        assert result.dtype == dtype
        # A count of photons, or a value at the rim of an area, may fall to the other side where numbers are rounded.
        far = (result.double() - single.double()).abs() > tolerance
        assert far.double().mean() < 1e-3, f"{dtype}: {far.sum()} of {far.numel()} values differ"


@every
def test_the_input_is_not_written_to(name: str) -> None:
    for images in (pictures(2), (pictures(2) * 255).byte()):
        kept, corruption = images.clone(), at_severity(name, 5)

        result = type(corruption).function(images, **corruption.arguments(corruption.from_seeds(draw_seeds(2))))
        result.zero_()

        assert torch.equal(images, kept)


@every
def test_no_images_give_none(name: str) -> None:
    for dtype in (torch.float32, torch.uint8):
        images = torch.zeros(0, 3, 16, 16, dtype=dtype)
        corruption = at_severity(name, 2)

        result = type(corruption).function(images, **corruption.arguments(corruption.from_seeds(draw_seeds(0))))

        assert result.shape == images.shape
        assert result.dtype == dtype


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_gradients_reach_the_images(name: str) -> None:
    images = pictures(2).requires_grad_()

    (grad,) = torch.autograd.grad(changed(at_severity(name, 3), images, draw_seeds(2)).sum(), images)

    assert grad.isfinite().all()
    assert (grad != 0).flatten(1).any(1).all()


@every
def test_transforms_replay(name: str) -> None:
    transform = Corruption(name, 4, return_parameters=True)
    images = (pictures(3) * 255).byte()

    result, rows = transform(images)

    assert rows.shape == (3, len(transform.parameter_names))
    assert torch.equal(transform.replay(images, rows), result)
    assert torch.equal(transform.replay(images[1:2], rows[1:2]), result[1:2])


@every
def test_strength_is_that_of_the_severity(name: str) -> None:
    settings = [at_severity(name, severity, constants).settings for constants in SETTINGS for severity in range(1, 6)]
    names = set(inspect.signature(CLASSES[name]).parameters)

    assert all(set(one) <= names for one in settings)
    assert all(one != other for table in (settings[:5], settings[5:]) for one, other in pairwise(table))


@every
@pytest.mark.parametrize("severity", [0, 6, -1, True])
def test_other_severities_are_refused(name: str, severity: int) -> None:
    for make in (at_severity, Corruption):
        with pytest.raises(ValueError, match="severity must be 1, 2, 3, 4 or 5"):
            make(name, severity)


@every
def test_misspelt_names_are_answered_with_the_closest(name: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        Corruption(name.upper().replace("_", " ") + "x", 1)


@pytest.mark.parametrize("constants", sorted(SETTINGS))
def test_mixtures_replay_and_hold_every_corruption(constants: str) -> None:
    mixture = RandomCorruption(constants=constants, return_parameters=True)  # type: ignore[arg-type]
    images = pictures(60, shape=(32, 32))

    result, rows = mixture(images)

    assert torch.equal(mixture.replay(images, rows), result)
    assert set(rows[:, 1].tolist()) == {1, 2, 3, 4, 5}
    alone = torch.cat([mixture.replay(images[i : i + 1], rows[i : i + 1]) for i in range(60)])
    assert_close(alone, result, atol=2e-6, rtol=0)
    for i in range(0, 60, 7):
        name, severity = mixture.names[int(rows[i, 0])], int(rows[i, 1])
        corruption = at_severity(name, severity, constants)  # type: ignore[arg-type]
        seed = (rows[i : i + 1, 2].long() << 24) + rows[i : i + 1, 3].long()
        assert_close(changed(corruption, images[i : i + 1], seed), result[i : i + 1], atol=2e-6, rtol=0)
    many = mixture.draw(4000)
    assert set(many[:, 0].long().tolist()) == set(range(len(CLASSES)))


@every
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 3, 7, 32), "at least 8x8 pixels"),
        (torch.full((1, 3, 8, 8), 2.0), r"must lie within \[0, 1\]"),
        (torch.full((1, 3, 8, 8), float("nan")), r"must lie within \[0, 1\]"),
    ],
)
def test_images_that_cannot_be_changed_are_refused(name: str, images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(at_severity(name, 1), images, draw_seeds(len(images)))


@pytest.mark.parametrize("name", [name for name in NAMES if at_severity(name, 1).seeded])
@pytest.mark.parametrize(
    "seeds", [torch.zeros(1, dtype=torch.int64), torch.zeros(3, dtype=torch.int32), torch.zeros(8, dtype=torch.int64)]
)
def test_seeds_are_one_whole_number_per_image(name: str, seeds: Tensor) -> None:
    corruption = at_severity(name, 3)
    given = corruption.arguments(corruption.from_seeds(draw_seeds(3)))

    with pytest.raises((ValueError, TypeError), match=r"seeds"):
        type(corruption).function(pictures(3), **{**given, "seeds": seeds})


@every
def test_settings_make_the_corruption_again_after_json(name: str) -> None:
    first = at_severity(name, 4)
    again = CLASSES[name](**json.loads(json.dumps(first.settings)))
    images, seeds = pictures(2), draw_seeds(2)

    assert_close(changed(again, images, seeds), changed(first, images, seeds), rtol=0, atol=0)


def test_what_is_no_severity_is_told_before_any_work() -> None:
    assert check_severity(np.int64(3)) == 3
    for wrong in (3.0, "3", None, True):
        with pytest.raises(ValueError, match=r"severity must be 1, 2, 3, 4 or 5"):
            check_severity(wrong)


def test_photographs_of_frost_reach_the_named_transforms(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(tmp_path / "white.png")
    images = torch.zeros(2, 3, 8, 8)

    white = Corruption("frost", 1, frost=str(tmp_path))
    mixed = RandomCorruption(["frost"], [1], frost=str(tmp_path))

    assert_close(white(images), torch.full_like(images, 0.2))
    assert_close(mixed(images), torch.full_like(images, 0.2))
    assert white.settings["frost"] == str(tmp_path)
