"""Rotation, scaling, shearing and translation of images, masks and points."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import grid_sample

from augment._types import Images, PerImage


def rotate_translate_scale(
    images: Images,
    rotation: PerImage,
    scale: PerImage,
    shift_x: PerImage,
    shift_y: PerImage,
    shear: PerImage | None = None,
) -> Images:
    r"""Shears, rotates and scales each image about its centre, then shifts it.

    A point :math:`q` of the image moves to :math:`p`, in pixels from the centre, y downwards:

    .. math:: p = s \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}
              \begin{pmatrix} 1 & -\tan\varphi \\ 0 & 1 \end{pmatrix} q
              + \begin{pmatrix} W\, t_x \\ H\, t_y \end{pmatrix}

    Interpolation is bilinear, with zeros outside of the image; all arguments have gradients. Angles are preserved where
    an image is not square.

    Args:
        images: Images, of any range.
        rotation: Angle :math:`\theta` in degrees, counter-clockwise as displayed (like torchvision's ``rotate``, unlike
            its ``affine``).
        scale: Factor :math:`s > 0`; above 1 the content grows.
        shift_x: Shift :math:`t_x` to the right, as a share of the width.
        shift_y: Shift :math:`t_y` downwards, as a share of the height.
        shear: Angle :math:`\varphi` in degrees by which vertical lines lean to the right; none if not given.

    Raises:
        ValueError: If `images` is not a float tensor ``[B, C, H, W]``, or another argument not one number per image.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
        >>> rotated = rotate_translate_scale(image, *torch.tensor([[90.0], [1.0], [0.0], [0.0]]))
        >>> rotated.round().int().tolist()  # counter-clockwise: top goes left
        [[[[0, 0, 0], [1, 0, 0], [0, 0, 0]]]]
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images must be a float tensor [B, C, H, W], got {images.dtype} of shape {tuple(images.shape)}: "
            "convert uint8 images by `images / 255`, and give one image as `image[None]`."
        )
    height, width = images.shape[-2:]
    # Half precision cannot tell neighbouring pixels of a wide image apart.
    dtype = torch.promote_types(images.dtype, torch.float32)
    columns = _columns(images, dtype, rotation, scale, shift_x, shift_y, shear)
    x, y = _sources((height, width), *columns)
    grid = torch.stack([x * (2 / width), y * (2 / height)], dim=-1)
    moved = grid_sample(images.to(dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.to(images.dtype)


def move_masks(masks: Shaped[Tensor, "B C H W"], *motion: PerImage, fill: int | float = 0) -> Shaped[Tensor, "B C H W"]:
    """Moves masks of any dtype like their images in :func:`rotate_translate_scale`, by nearest-neighbour interpolation.

    Args:
        masks: The masks.
        motion: Rotation, scale, shifts and, optionally, shear: arguments and errors as for images.
        fill: Value outside of the masks.
    """
    count, channels, height, width = masks.shape
    x, y = _sources((height, width), *_columns(masks, torch.float32, *motion))
    column, row = (x + (width - 1) / 2).round().long(), (y + (height - 1) / 2).round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = (row * width + column).where(inside, 0).view(count, 1, -1).expand(-1, channels, -1)
    moved = masks.flatten(2).gather(2, source).view_as(masks)
    return moved.masked_fill(~inside[:, None], fill)


def move_points(points: Float[Tensor, "B N 2"], size: tuple[int, int], *motion: PerImage) -> Float[Tensor, "B N 2"]:
    """Moves points like their images in :func:`rotate_translate_scale`; they may leave the image.

    Args:
        points: Pairs (x, y) in pixels from the upper left corner of the image, y downwards.
        size: Height and width of the image.
        motion: Rotation, scale, shifts and, optionally, shear: arguments and errors as for images.

    Example:
        >>> middle_of_the_top = torch.tensor([[[5.0, 0.0]]])
        >>> rotated = move_points(middle_of_the_top, (10, 10), *torch.tensor([[90.0], [1.0], [0.0], [0.0]]))
        >>> rotated.round().tolist()  # counter-clockwise: top goes left
        [[[0.0, 5.0]]]
    """
    height, width = size
    angle, factor, right, down, lean = _columns(points, points.dtype, *motion)
    x, y = (points - points.new_tensor([width / 2, height / 2])).split(1, -1)
    if lean is not None:
        x = x - torch.deg2rad(lean).tan() * y
    cos, sin = torch.deg2rad(angle).cos() * factor, torch.deg2rad(angle).sin() * factor
    return torch.cat([cos * x + sin * y + (right + 0.5) * width, cos * y - sin * x + (down + 0.5) * height], -1)


def _sources(
    size: tuple[int, int], rotation: Tensor, scale: Tensor, shift_x: Tensor, shift_y: Tensor, shear: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Source position of each output pixel, in pixels from the centre: x and y, each ``[B, H, W]``."""

    def centred(length: int) -> Tensor:
        return torch.arange(length, device=rotation.device, dtype=rotation.dtype) + (0.5 - length / 2)

    # Written out rather than by `affine_grid`, whose matrix product loses pixels under autocast or TF32.
    angle = torch.deg2rad(rotation)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    height, width = size
    x = centred(width).view(1, 1, -1) - shift_x * width
    y = centred(height).view(1, -1, 1) - shift_y * height
    source_x, source_y = cos * x - sin * y, sin * x + cos * y
    if shear is not None:
        source_x = source_x + torch.deg2rad(shear).tan() * source_y
    return source_x, source_y


def _columns(
    like: Tensor,
    dtype: torch.dtype,
    rotation: PerImage,
    scale: PerImage,
    shift_x: PerImage,
    shift_y: PerImage,
    shear: PerImage | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The motion on a tensor's device, ready to broadcast, ``[B, 1, 1]``."""

    def column(name: str, values: PerImage) -> Tensor:
        if values.shape != like.shape[:1]:
            raise ValueError(
                f"{name} must hold one number per image, shape ({len(like)},), got {tuple(values.shape)}: "
                f"one number for all is `torch.full(({len(like)},), value)`."
            )
        return values.to(like.device, dtype).view(-1, 1, 1)

    leaning = None if shear is None else column("shear", shear)
    shifts = column("shift_x", shift_x), column("shift_y", shift_y)
    return column("rotation", rotation), column("scale", scale), *shifts, leaning
