"""Rotation, scaling, shearing and translation of each image by its own amounts."""

import torch
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
    r"""Shears, turns and scales each image about its centre, then shifts it.

    With :math:`q` a point of the content and :math:`p` where it lands, in pixels from the centre, y downwards:

    .. math:: p = s \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}
              \begin{pmatrix} 1 & -\tan\varphi \\ 0 & 1 \end{pmatrix} q
              + \begin{pmatrix} W\, t_x \\ H\, t_y \end{pmatrix}

    Each output pixel reads its :math:`q` by bilinear interpolation; outside the image lie zeros. The rotation is
    one of pixels, so it keeps angles where an image is not square.

    Args:
        images: Images, of any range.
        rotation: Angle :math:`\theta` in degrees, counter-clockwise as displayed (as torchvision's ``rotate``;
            its ``affine`` counts the other way).
        scale: Factor :math:`s > 0`; above 1 the content grows.
        shift_x: Shift :math:`t_x` to the right, as a share of the width.
        shift_y: Shift :math:`t_y` downwards, as a share of the height.
        shear: Angle :math:`\varphi` in degrees by which upright lines lean to the right; none if not given.

    Returns:
        Images of the same shape and dtype; differentiable in every argument.

    Raises:
        ValueError: If `images` is not a float tensor B C H W, or another argument not one number per image.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
        >>> turned = rotate_translate_scale(image, *torch.tensor([[90.0], [1.0], [0.0], [0.0]]))
        >>> turned.round().int().tolist()  # a quarter turn counter-clockwise: top goes left
        [[[[0, 0, 0], [1, 0, 0], [0, 0, 0]]]]
    """
    lean = {} if shear is None else {"shear": shear}
    _check(images, rotation=rotation, scale=scale, shift_x=shift_x, shift_y=shift_y, **lean)
    height, width = images.shape[-2:]
    # Half precision cannot tell neighbouring pixels of a wide image apart.
    dtype = torch.promote_types(images.dtype, torch.float32)

    def column(values: PerImage) -> torch.Tensor:
        return values.to(images.device, dtype).view(-1, 1, 1)

    def centred(length: int) -> torch.Tensor:
        return torch.arange(length, device=images.device, dtype=dtype) + (0.5 - length / 2)

    # Written out rather than by `affine_grid`, whose matrix product loses pixels under autocast or TF32.
    angle = torch.deg2rad(column(rotation))
    cos, sin = angle.cos() / column(scale), angle.sin() / column(scale)
    x = centred(width).view(1, 1, -1) - column(shift_x) * width
    y = centred(height).view(1, -1, 1) - column(shift_y) * height
    source_x, source_y = cos * x - sin * y, sin * x + cos * y
    if shear is not None:
        source_x = source_x + torch.deg2rad(column(shear)).tan() * source_y
    grid = torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)
    moved = grid_sample(images.to(dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.to(images.dtype)


def _check(images: torch.Tensor, **columns: torch.Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images must be a float tensor [B, C, H, W], got {images.dtype} of shape {tuple(images.shape)}: "
            "convert uint8 images by `images / 255`, and give one image as `image[None]`."
        )
    for name, values in columns.items():
        if values.shape != images.shape[:1]:
            raise ValueError(
                f"{name} must hold one number per image, shape ({len(images)},), got {tuple(values.shape)}: "
                f"one number for all is `torch.full(({len(images)},), value)`."
            )
