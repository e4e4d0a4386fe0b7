"""Random rotation, scaling, shearing and translation of images, with the masks, boxes and points of a sample."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul
from typing import Any

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torchvision import tv_tensors

from augment._types import Images, Parameters
from augment.functional import move_masks, move_points, rotate_translate_scale
from augment.transform import ChangeTransform, Rows

UPRIGHT = [tv_tensors.BoundingBoxFormat[name] for name in ("XYXY", "XYWH", "CXCYWH")]


class SpatialChange(ChangeTransform):
    r"""Rotations, scales, shifts and shears, each drawn uniformly and independently.

    .. math:: \theta \sim U[-\text{rotation}, \text{rotation}], \quad s \sim U[\text{scale}], \quad
              t_x, t_y \sim U[-\text{shift}, \text{shift}], \quad \varphi \sim U[-\text{shear}, \text{shear}]

    In a sample, masks, bounding boxes and key points move with the pixels of their image: masks by nearest-neighbour
    interpolation; a box becomes the upright box around its moved corners, clamped according to its ``clamping_mode``;
    points exactly, and may leave the image. Whole numbers are rounded. For a batch of images, masks have the batch's
    leading dimensions; boxes and points, which belong to one image, are refused.

    Args:
        rotation: Largest angle in degrees, in both directions.
        scale: Smallest and largest scale factor.
        shift: Largest shift in both directions, as a share of height and width.
        shear: Largest angle in degrees, below 90, by which vertical lines lean to either side; 0 leaves this parameter
            out.
        mask_fill: Value of masks outside of their content, for example the class that a loss ignores.
        generator: For the draws, as for :class:`augment.ImageTransform`.
        return_parameters: Whether to return ``(sample, parameters)``.

    Raises:
        ValueError: If a range is not finite or does not contain the identity (angle 0, scale 1, shift 0, shear 0).

    References:
        Engstrom et al., *Exploring the landscape of spatial robustness* (arXiv 1712.02779).

    Example:
        >>> change = SpatialChange(rotation=30.0, shift=0.0)
        >>> change.apply(torch.rand(2, 1, 8, 8), change.draw(2)).shape
        torch.Size([2, 1, 8, 8])
        >>> image, mask = change((tv_tensors.Image(torch.rand(3, 8, 8)), tv_tensors.Mask(torch.ones(8, 8))))
    """

    def __init__(
        self,
        *,
        rotation: float = 45.0,
        scale: tuple[float, float] = (0.7, 1.3),
        shift: float = 0.15,
        shear: float = 0.0,
        mask_fill: int | float = 0,
        generator: torch.Generator | None = None,
        return_parameters: bool = False,
    ) -> None:
        super().__init__(moves_pixels=True, generator=generator, return_parameters=return_parameters)
        for name, largest in (("rotation", rotation), ("shift", shift)):
            if not 0 <= largest < math.inf:
                raise ValueError(
                    f"{name} must be a finite number of 0 or more, got {largest}: the range is symmetric about 0, so "
                    "give its upper end alone."
                )
        if len(scale) != 2 or not 0 < scale[0] <= 1 <= scale[1] < math.inf:
            raise ValueError(
                f"scale must be (smallest, largest) with 0 < smallest <= 1 <= largest, got {scale}: it must contain "
                "the unchanged image, scale 1. Use (1.0, 1.0) for no scaling."
            )
        if not 0 <= shear < 90:
            raise ValueError(f"shear must be an angle of 0 or more and below 90 degrees, got {shear}.")
        self.rotation, self.scale, self.shift, self.shear = rotation, scale, shift, shear
        self.mask_fill = mask_fill

    @property
    def settings(self) -> dict[str, Any]:
        return {"rotation": self.rotation, "scale": self.scale, "shift": self.shift, "shear": self.shear}

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return ("rotation", "scale", "shift_x", "shift_y", "shear")[: self._columns]

    @property
    def identity(self) -> tuple[float, ...]:
        """The row that changes nothing."""
        return (0.0, 1.0, 0.0, 0.0, 0.0)[: self._columns]

    @property
    def low(self) -> tuple[float, ...]:
        """Smallest value of each column."""
        return (-self.rotation, self.scale[0], -self.shift, -self.shift, -self.shear)[: self._columns]

    @property
    def high(self) -> tuple[float, ...]:
        """Largest value of each column."""
        return (self.rotation, self.scale[1], self.shift, self.shift, self.shear)[: self._columns]

    @property
    def _columns(self) -> int:
        return 5 if self.shear else 4

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        device = None if generator is None else generator.device
        share = torch.rand(count, self._columns, generator=generator, device=device)
        return torch.lerp(share.new_tensor(self.low), share.new_tensor(self.high), share)

    def apply(self, images: Images, parameters: Parameters) -> Images:
        """Changes each image by its row, which may lie outside of the ranges."""
        self.check_parameters(parameters)
        return rotate_translate_scale(images, *parameters.unbind(dim=1))

    def move(self, target: Any, rows: Rows) -> Any:
        if isinstance(target, tv_tensors.Mask):
            return _moved_mask(target, rows, self.mask_fill)
        if len(rows) != 1:
            raise ValueError(
                f"sample holds {type(target).__name__} and a batch of {len(rows)} images, so it is unknown which "
                "image each of them belongs to: change the samples before they are collated"
            )
        return (
            _moved_boxes(target, rows) if isinstance(target, tv_tensors.BoundingBoxes) else _moved_points(target, rows)
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mask_fill={self.mask_fill!r}"


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
