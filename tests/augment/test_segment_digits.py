"""Redrawn digits: the display's segments exactly, and what was drawn, as told and as labelled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from augment import Digits, MultiLabelSource, SegmentDigits
from augment.functional import move_points, thicken

# The bytes that light a seven-segment display, as data sheets print them: bit 0 is segment a, bit 6 is g.
BYTES = (0x3F, 0x06, 0x5B, 0x4F, 0x66, 0x6D, 0x7D, 0x07, 0x7F, 0x6F)
NEARLY_NOTHING = {"rotation": 1e-6, "scale": (1.0, 1 + 1e-6), "shift": 1e-6, "stroke": (-1e-6, 1e-6)}


@pytest.fixture(scope="module")
def digits() -> SegmentDigits:
    return SegmentDigits("train", copies=2)


def positions(source: SegmentDigits) -> range:
    return range(len(source))


def test_segments_are_those_of_the_display(digits: SegmentDigits) -> None:
    states = digits.states(positions(digits))[:, :7]

    for digit, byte in enumerate(BYTES):
        lit = torch.tensor([float(byte >> bit & 1) for bit in range(7)])
        mine = states[digits.labels == digit]
        assert_close(mine, lit.expand_as(mine))
    assert digits.label_names == (*"abcdefg", "tilted", "large", "shifted", "bold")
    assert len({tuple(row) for row in states.tolist()}) == 10


def test_splits_share_no_scan_and_only_training_scans_are_copied(digits: SegmentDigits) -> None:
    parts = [SegmentDigits(split, copies=2) for split in ("train", "validation", "test")]  # type: ignore[arg-type]
    indices = torch.cat([part.indices for part in parts])

    assert torch.equal(indices.sort().values, torch.cat([torch.arange(1797), torch.arange(1197) + 1797]))
    assert all(isinstance(part, MultiLabelSource) for part in parts)
    rows = [set((part.indices % 1797).tolist()) for part in parts]
    assert [len(part) for part in parts] == [2394, 300, 300]
    assert [len(row) for row in rows] == [1197, 300, 300]
    assert len(set.union(*rows)) == 1797
    once = SegmentDigits("train")
    count = len(once)
    assert (count, len(digits)) == (1197, 2394)
    assert torch.equal(once.images, digits.images[:count])
    assert torch.equal(once.labels, digits.labels[count:])
    assert torch.equal(once.labels, Digits("train").labels)
    assert (digits.images[:count] - digits.images[count:]).abs().flatten(1).amax(1).min() > 0.05


def test_an_image_depends_on_its_scan_the_copy_and_the_seed_alone() -> None:
    here, again, other = (SegmentDigits("test", size=20, seed=seed) for seed in (3, 3, 4))

    assert torch.equal(here.images, again.images)
    assert_close(here.states([5, 7]), again.states([5, 7]), equal_nan=True)
    assert torch.equal(here.states([5, 7])[:, :7], other.states([5, 7])[:, :7])
    assert (here.parameters - other.parameters).abs().min() > 0
    image, label = here[4]
    assert_close(image, here.batch([4])[0][0])
    image.zero_()
    assert label == here.labels[4]
    assert here.images[4].max() > 0.5


def test_attributes_are_the_thresholded_draws_and_unknown_near_the_threshold() -> None:
    ranges = {"rotation": 40.0, "scale": (0.5, 1.5), "shift": 0.2, "stroke": (-1.0, 1.0)}
    digits = SegmentDigits("train", copies=5, unsure=0.3, **ranges)  # type: ignore[arg-type]
    rotation, scale, x, y, stroke = digits.parameters.double().unbind(1)
    states = digits.states(positions(digits))[:, 7:]

    amounts = {"tilted": rotation.abs() / 20, "large": scale * 2 - 1, "shifted": (x**2 + y**2).sqrt() * 10}
    amounts["bold"] = stroke + 1
    for name, state in zip(digits.attributes, states.unbind(1), strict=True):
        amount = amounts[name]  # from 0 to 2, on above 1
        assert -1e-6 < amount.min() < 0.01 < 1.99 < amount.max() < 2 + 1e-6
        certain = ((amount - 1).abs() - 0.3).abs() > 1e-4
        told = torch.where((amount - 1).abs() < 0.3, torch.nan, (amount > 1).double())
        assert_close(state[certain].double(), told[certain], equal_nan=True)
        assert abs(float(state.isnan().double().mean()) - 0.3) < 0.03  # five standard deviations of 5,985 draws
    assert not SegmentDigits("train", unsure=0.0).states(range(1197)).isnan().any()


def test_attributes_do_not_depend_on_the_class_or_on_each_other(digits: SegmentDigits) -> None:
    many = SegmentDigits("train", copies=10, unsure=0.0)
    drawn = many.states(positions(many))[:, 7:].double()

    for digit in range(10):
        mine = drawn[many.labels == digit]
        assert ((mine.mean(0) - 0.5).abs() < 5 * 0.5 / len(mine) ** 0.5).all()
    assert (torch.corrcoef(drawn.T) - torch.eye(4)).abs().max() < 5 / len(drawn) ** 0.5
    signs = many.parameters[:, [0, 2, 3]].sign()
    assert signs.mean(0).abs().max() < 5 / len(signs) ** 0.5  # to every side


def centroids(images: Tensor) -> Tensor:
    """Centres of mass, in pixels from the upper left corner."""
    place = torch.arange(images.shape[-1]) + 0.5
    mass = images.sum((1, 2, 3))
    x = (images.sum((1, 2)) * place).sum(1) / mass
    y = (images.sum((1, 3)) * place).sum(1) / mass
    return torch.stack([x, y], 1)


def test_what_was_told_is_what_was_drawn() -> None:
    # On this frame nothing is cut off, so mass and centre of mass move exactly as the drawing does.
    plain = SegmentDigits("test", size=40, **NEARLY_NOTHING)  # type: ignore[arg-type]
    moved = SegmentDigits("test", size=40, stroke=(-1e-6, 1e-6))
    parameters = moved.parameters.clone()

    expected = move_points(centroids(plain.images)[:, None], (40, 40), *parameters[:, :4].unbind(1))[:, 0]

    assert_close(centroids(moved.images), expected, atol=0.1, rtol=0)
    assert (expected - centroids(plain.images)).norm(dim=1).max() > 4
    grown = moved.images.sum((1, 2, 3)) / plain.images.sum((1, 2, 3))
    assert_close(grown, parameters[:, 1].square(), rtol=0.01, atol=0)


def test_bold_strokes_have_more_ink() -> None:
    alone = {**NEARLY_NOTHING, "stroke": (-0.4, 0.8)}
    plain, wide = SegmentDigits("test", **NEARLY_NOTHING), SegmentDigits("test", **alone)  # type: ignore[arg-type]
    stroke = wide.parameters[:, 4]

    assert (wide.images >= plain.images)[stroke > 1e-3].all()
    assert (wide.images <= plain.images)[stroke < -1e-3].all()
    grown = wide.images.sum((1, 2, 3)) / plain.images.sum((1, 2, 3))
    assert torch.corrcoef(torch.stack([grown, stroke]))[0, 1] > 0.95


def test_scans_hardly_changed_are_the_digits() -> None:
    ours, plain = SegmentDigits("test", **NEARLY_NOTHING).images, Digits("test").images  # type: ignore[arg-type]

    assert (ours - plain).abs().mean() < 0.01  # enlarged once, or to four times as many pixels and averaged
    assert (ours - plain).abs().max() < 0.2


@pytest.mark.parametrize("amount", [-2.0, -1.4, -0.25, 0.0, 0.5, 1.0, 2.75])
def test_thickening_is_grey_morphology(amount: float, generator: torch.Generator) -> None:
    from scipy import ndimage

    images = torch.rand(3, 2, 9, 11, generator=generator, dtype=torch.float64) - 0.5

    def widened(pixels: int) -> Tensor:
        size = 2 * abs(pixels) + 1
        operation = ndimage.grey_dilation if pixels > 0 else ndimage.grey_erosion
        return torch.from_numpy(operation(images.numpy(), size=(1, 1, size, size), mode="nearest"))

    below = int(torch.tensor(amount).floor())
    expected = torch.lerp(widened(below), widened(below + 1), amount - below)

    kept = images.clone()
    assert_close(thicken(images, torch.full((3,), amount)), expected, atol=1e-7, rtol=0)
    assert torch.equal(images, kept)


def test_each_image_is_thickened_alone(generator: torch.Generator) -> None:
    images = torch.rand(4, 1, 8, 8, generator=generator)
    amount = torch.tensor([-1.5, 0.0, 0.3, 3.0])
    together = thicken(images, amount)

    assert torch.equal(together[1], images[1])
    for row in range(4):
        assert_close(thicken(images[row : row + 1], amount[row : row + 1])[0], together[row])
    assert thicken(images[:0], amount[:0]).shape == (0, 1, 8, 8)
    with pytest.raises(ValueError, match=r"amount must hold one finite number per image.*NaN or infinity"):
        thicken(images, amount / 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "all"}, "split must be"),
        ({"digit": 4}, "digit must be 8"),
        ({"size": 10}, "size must be at least"),
        ({"copies": 0}, "copies must be 1"),
        ({"rotation": 0.0}, "rotation must be a finite number above 0, got 0"),
        ({"shift": float("nan")}, "shift must be a finite number above 0, got nan"),
        ({"scale": (1.0, 1.0)}, r"scale must be \(smallest, largest\), finite, increasing and above 0"),
        ({"scale": (0.0, 1.0)}, "scale must be"),
        ({"stroke": (1.0, float("inf"))}, "stroke must be"),
        ({"unsure": 1.0}, "unsure must be from 0 to below 1, got 1"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentDigits(**arguments)  # type: ignore[arg-type]
