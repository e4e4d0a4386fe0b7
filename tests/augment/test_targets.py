"""Masks, boxes and key points beside torchvision's own affine kernels."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torch.testing import assert_close
from torchvision import tv_tensors
from torchvision.transforms import v2

from augment import SpatialChange
from augment.functional import move_masks, move_points, rotate_translate_scale

HEIGHT, WIDTH = 20, 28
MODES = "clamping_mode" in inspect.signature(tv_tensors.BoundingBoxes.__new__).parameters  # since torchvision 0.23
POINTS = getattr(tv_tensors, "KeyPoints", None)  # likewise
SETTINGS = [(30.0, 1.0, 0, 0, 0.0), (0.0, 1.2, 3, -2, 0.0), (-45.0, 0.8, 2, 1, 0.0), (20.0, 1.3, 1, 2, -40.0)]
CHANGE = SpatialChange(shear=60.0)


def row(angle: float, scale: float, right: int, down: int, shear: float) -> Tensor:
    return torch.tensor([[angle, scale, right / WIDTH, down / HEIGHT, shear]], dtype=torch.float64)


def affine(target: Any, angle: float, scale: float, right: int, down: int, shear: float) -> Any:
    """Torchvision's, whose rotation runs clockwise."""
    return F.affine(target, angle=-angle, translate=[right, down], scale=scale, shear=[shear, 0.0])


def image() -> Any:
    return tv_tensors.Image(torch.rand(3, HEIGHT, WIDTH))


def boxes(form: str, clamping: str | None = "soft", dtype: torch.dtype = torch.float64) -> Any:
    corners = torch.tensor([[2, 3, 11, 9], [20, 10, 27, 19], [13, 9, 15, 11]], dtype=dtype)
    mode = {"clamping_mode": clamping} if MODES else {}
    made = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(HEIGHT, WIDTH), **mode)
    return F.convert_bounding_box_format(made, new_format=tv_tensors.BoundingBoxFormat[form])


def moved(target: Any, *setting: Any) -> Any:
    return CHANGE.replay((image(), target), row(*setting))[1]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH"])
@pytest.mark.parametrize("clamping", ["soft", "hard", None] if MODES else ["soft"])
def test_boxes_move_as_by_torchvision(setting: Any, form: str, clamping: str | None) -> None:
    given = boxes(form, clamping)
    ours, theirs = moved(given, *setting), affine(given, *setting)

    assert (ours.format, ours.canvas_size) == (given.format, (HEIGHT, WIDTH))
    assert not MODES or ours.clamping_mode == clamping
    assert_close(ours.as_subclass(Tensor), theirs.as_subclass(Tensor), atol=1e-6, rtol=0)


@pytest.mark.parametrize("setting", SETTINGS)
def test_whole_numbers_are_rounded(setting: Any) -> None:
    ours = moved(boxes("XYXY", dtype=torch.int64), *setting)

    assert ours.dtype == torch.int64
    # torchvision cuts off the fractions, which moves boxes to the upper left.
    assert_close(ours.as_subclass(Tensor), moved(boxes("XYXY"), *setting).as_subclass(Tensor).round().long())


@pytest.mark.skipif(POINTS is None, reason="needs torchvision 0.23")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("shape", [(5, 2), (2, 3, 2), (0, 2)])
def test_points_move_as_by_torchvision(setting: Any, shape: tuple[int, ...], generator: torch.Generator) -> None:
    inside = torch.rand(shape, dtype=torch.float64, generator=generator) * WIDTH
    points = tv_tensors.KeyPoints(inside, canvas_size=(HEIGHT, WIDTH))
    ours = moved(points, *setting)

    assert isinstance(ours, tv_tensors.KeyPoints)
    assert_close(ours.as_subclass(Tensor), affine(points, *setting).as_subclass(Tensor), atol=1e-6, rtol=0)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (4, HEIGHT, WIDTH), (0, HEIGHT, WIDTH)])
def test_masks_move_as_by_torchvision(setting: Any, shape: tuple[int, ...], generator: torch.Generator) -> None:
    mask = tv_tensors.Mask(torch.randint(1, 200, shape, dtype=torch.uint8, generator=generator))
    ours, theirs = moved(mask, *setting), affine(mask, *setting)

    assert isinstance(ours, tv_tensors.Mask)
    assert ours.dtype == torch.uint8
    # Sources halfway between two pixels fall to either side by rounding in single precision.
    assert (ours != theirs).sum() <= 0.005 * mask.numel()


def test_masks_keep_large_whole_numbers_and_take_the_fill() -> None:
    label = (1 << 40) + 1
    mask = tv_tensors.Mask(torch.full((HEIGHT, WIDTH), label))
    change = SpatialChange(mask_fill=255)
    given = torch.tensor([[0.0, 1.0, 0.5, 0.0]])

    ours = change.replay((image(), mask), given)[1]

    assert (ours[:, : WIDTH // 2] == 255).all()
    assert (ours[:, WIDTH // 2 :] == label).all()


def test_identity_leaves_masks_and_whole_numbers_as_they_are() -> None:
    mask = tv_tensors.Mask(torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH))
    given = boxes("XYWH", dtype=torch.int64)
    kept = CHANGE.replay((image(), mask, given), torch.tensor([CHANGE.identity]))

    assert_close(kept[1], mask)
    assert_close(kept[2], given)


def test_a_point_lies_where_its_pixel_went(generator: torch.Generator) -> None:
    change = SpatialChange(rotation=40.0, shift=0.1, shear=20.0)
    rows = change.draw(6, generator=generator)
    images = torch.zeros(6, 1, 41, 51)
    images[:, :, 14, 30] = 1
    places = torch.stack(torch.meshgrid(torch.arange(41) + 0.5, torch.arange(51) + 0.5, indexing="ij"))

    shown = change.apply(images, rows)
    centre = (shown * places).sum((2, 3)) / shown.sum((2, 3))
    points = move_points(torch.tensor([30.5, 14.5]).expand(6, 1, 2), (41, 51), *rows.unbind(1))

    # The image shows the pixel spread over its neighbours: its centre of mass is not exactly the point.
    assert_close(points[:, 0].flip(1), centre, atol=0.25, rtol=0)


def test_each_mask_of_a_batch_moves_with_its_image(generator: torch.Generator) -> None:
    change = SpatialChange(return_parameters=True, generator=generator)
    images, masks = torch.rand(4, 3, 16, 16), (torch.rand(4, 2, 16, 16, generator=generator) * 9).byte()
    (_, ours), rows = change((images, tv_tensors.Mask(masks)))

    for number in range(4):
        alone = change.replay((images[number], tv_tensors.Mask(masks[number])), rows[number : number + 1])[1]
        assert_close(ours[number], alone)


def test_masks_agree_with_nearest_pixels_of_their_image() -> None:
    # A mask of large constant areas, moved as an image, differs only where bilinear interpolation mixes values.
    mask = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    mask[..., 8:30, 10:24] = 1
    rows = torch.tensor([[33.0, 1.1, 0.05, -0.1]])

    nearest = move_masks(mask, *rows.unbind(1))
    smooth = rotate_translate_scale(mask.float(), *rows.unbind(1))

    assert_close(nearest[(smooth < 0.01) | (smooth > 0.99)].float(), smooth[(smooth < 0.01) | (smooth > 0.99)].round())


@pytest.mark.skipif(not MODES, reason="needs torchvision 0.23")
@pytest.mark.parametrize("form", ["XYWHR", "CXCYWHR", "XYXYXYXY"])
def test_rotated_boxes_are_refused_by_name(form: str) -> None:
    size = 8 if form == "XYXYXYXY" else 5
    given = tv_tensors.BoundingBoxes(torch.rand(2, size), format=form, canvas_size=(HEIGHT, WIDTH))

    with pytest.raises(ValueError, match=f"must be upright.*got {form}"):
        SpatialChange()((image(), given))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (boxes("XYXY"), "BoundingBoxes and a batch of 3 images.*before they are collated"),
        *([(POINTS(torch.rand(3, 2), canvas_size=(HEIGHT, WIDTH)), "KeyPoints and a batch of 3")] if POINTS else []),
        (tv_tensors.Mask(torch.zeros(2, HEIGHT, WIDTH)), r"Mask of shape \[2, 20, 28\] and a batch of 3"),
    ],
)
def test_targets_of_no_certain_image_are_refused(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpatialChange()((torch.rand(3, 3, HEIGHT, WIDTH), target))


def test_targets_without_an_image_are_refused() -> None:
    with pytest.raises(ValueError, match="Mask but no image to move with"):
        SpatialChange()(tv_tensors.Mask(torch.zeros(4, 4)))


def test_a_batch_of_one_takes_boxes() -> None:
    given = boxes("XYXY")
    setting = SETTINGS[0]

    ours = CHANGE.replay((image()[None], given), row(*setting))[1]

    assert_close(ours.as_subclass(Tensor), affine(given, *setting).as_subclass(Tensor), atol=1e-6, rtol=0)


def test_in_a_pipeline_everything_moves_together() -> None:
    box = tv_tensors.BoundingBoxes([[6.0, 4, 12, 10]], format="XYXY", canvas_size=(HEIGHT, WIDTH))
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    mask[4:10, 6:12] = 1
    sample = {"image": mask.expand(3, -1, -1) * 255, "mask": mask, "boxes": box, "label": 5}
    sample |= {"image": tv_tensors.Image(sample["image"]), "mask": tv_tensors.Mask(mask)}
    pipeline = v2.Compose([v2.RandomHorizontalFlip(1.0), SpatialChange(rotation=20.0, shift=0.1)])

    changed = pipeline(sample)

    rows, columns = changed["mask"].nonzero().unbind(1)
    around = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert changed["label"] == 5
    assert ((changed["image"][0] > 127) == changed["mask"].bool()).float().mean() > 0.98
    assert_close(changed["boxes"][0].as_subclass(Tensor), around.float(), atol=1.1, rtol=0)
