"""Masks, bounding boxes and key points that are moved with the pixels of their image."""

from __future__ import annotations

from itertools import accumulate
from operator import mul
from typing import Any

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torchvision import tv_tensors

from augment._types import Parameters
from augment.functional import move_masks, move_points

UPRIGHT = [tv_tensors.BoundingBoxFormat[name] for name in ("XYXY", "XYWH", "CXCYWH")]


def move_target(target: Any, parameters: Parameters, *, fill: int | float = 0) -> Any:
    """Moves a target by rotation, scale, shift and shear.

    Args:
        target: A mask with any leading dimensions, those of the images first if there are several; or the boxes or
            key points of one image.
        parameters: One row per image, as :class:`augment.SpatialChange` draws them.
        fill: Value of masks outside of their content.

    Returns:
        The target in its own type, format and dtype: masks by nearest-neighbour interpolation; the upright boxes around
        moved corners, clamped according to their ``clamping_mode``; points, which may leave the image. Whole numbers
        are rounded.

    Raises:
        ValueError: If boxes are of a rotated format, or boxes or points come with several images.
    """
    if isinstance(target, tv_tensors.Mask):
        return _moved_mask(target, parameters, fill)
    if len(parameters) != 1:
        raise ValueError(
            f"sample holds {type(target).__name__} and a batch of {len(parameters)} images, so it is unknown which "
            "image each of them belongs to: change the samples before they are collated"
        )
    is_points = isinstance(target, tv_tensors.KeyPoints)
    return _moved_points(target, parameters) if is_points else _moved_boxes(target, parameters)


def _moved_mask(mask: Any, rows: Parameters, fill: int | float) -> Any:
    plain = mask.as_subclass(Tensor)
    if len(rows) not in {1, *accumulate(plain.shape[:-2], mul)}:
        raise ValueError(
            f"sample holds a Mask of shape {list(plain.shape)} and a batch of {len(rows)} images: masks of a batch "
            "must have its leading dimensions"
        )
    per_image = plain.shape[:-2].numel() // max(len(rows), 1)
    layers = plain.reshape(len(rows), per_image, *plain.shape[-2:])
    return tv_tensors.wrap(move_masks(layers, *rows.unbind(1), fill=fill).reshape(plain.shape), like=mask)


def _moved_points(points: Any, rows: Parameters) -> Any:
    plain = points.as_subclass(Tensor)
    return tv_tensors.wrap(_restored(_moved(plain.reshape(1, -1, 2), points.canvas_size, rows), plain), like=points)


def _moved_boxes(boxes: Any, rows: Parameters) -> Any:
    if boxes.format not in UPRIGHT:
        raise ValueError(
            f"bounding boxes must be upright ({', '.join(form.name for form in UPRIGHT)}), got {boxes.format.name}: "
            "give their corners as KeyPoints, which move exactly"
        )
    plain = boxes.as_subclass(Tensor)
    edges = F.convert_bounding_box_format(
        plain.to(torch.promote_types(plain.dtype, torch.float32)), boxes.format, tv_tensors.BoundingBoxFormat.XYXY
    )
    corners = _moved(edges[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(1, -1, 2), boxes.canvas_size, rows).view(-1, 4, 2)
    around = tv_tensors.wrap(
        torch.cat([corners.amin(1), corners.amax(1)], 1), like=boxes, format=tv_tensors.BoundingBoxFormat.XYXY
    )
    moved = F.convert_bounding_box_format(F.clamp_bounding_boxes(around), new_format=boxes.format)
    return tv_tensors.wrap(_restored(moved.as_subclass(Tensor), plain), like=boxes)


def _moved(points: Tensor, size: tuple[int, int], rows: Parameters) -> Tensor:
    """Points moved in single precision or better."""
    return move_points(points.to(torch.promote_types(points.dtype, torch.float32)), size, *rows.unbind(1))


def _restored(moved: Tensor, like: Tensor) -> Tensor:
    """Moved numbers in their former shape and type; whole numbers are rounded."""
    return (moved if like.is_floating_point() else moved.round()).reshape(like.shape).to(like.dtype)
