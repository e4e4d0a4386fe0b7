"""Checks and conversions shared by all corruptions: image types, and settings that are one number or one per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import PerImage, Seeds
from augment.value_range import in_range

P = ParamSpec("P")

SMALLEST = 8  # height and width, in pixels, of the smallest images that can be corrupted

Amount = int | float | PerImage  # a number for all images, or one per image
Column = Float[Tensor, "#B 1 1 1"]  # the same, ready to broadcast


def on_unit_images(function: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Lets a function of float images in [0, 1] take ``uint8`` images and any floating type as well.

    The function computes in float32, or in float64 if the images have it. Its result is clipped to [0, 1] and converted
    to the type of the images; ``uint8`` is rounded.
    """

    @wraps(function)
    def changed(images: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        images = check_images(images)
        if images.dtype == torch.uint8:
            unit = images.float() / 255
        else:
            unit = images.to(torch.promote_types(images.dtype, torch.float32))
        with torch.autocast(images.device.type, enabled=False):  # it would round pixels to 8 bits of mantissa
            result = function(unit, *args, **kwargs).clamp(0, 1) if len(images) else unit.clone()
        return (result * 255).round().to(torch.uint8) if images.dtype == torch.uint8 else result.to(images.dtype)

    return changed


def check_images(images: Tensor) -> Tensor:
    """A batch ``[B, C, H, W]`` of at least 8x8 pixels, ``uint8`` or in [0, 1], checked; rounding errors are clamped."""
    if images.ndim != 4 or not images.shape[1]:
        raise ValueError(
            f"images must be a batch [B, C, H, W], got {list(images.shape)}: give one image [C, H, W] as `image[None]`"
            ", images with more leading dimensions as `images.flatten(0, -4)`"
        )
    if min(images.shape[2:]) < SMALLEST:
        raise ValueError(
            f"images must have at least {SMALLEST}x{SMALLEST} pixels, got {images.shape[2]}x{images.shape[3]}: enlarge "
            f"them first, e.g. `torchvision.transforms.v2.functional.resize(images, [{SMALLEST}, {SMALLEST}])`"
        )
    check_type(images)
    if images.dtype == torch.uint8:
        return images
    return in_range(images, normalized="corrupt images before they are normalised")


def check_type(images: Tensor) -> None:
    """Checks that images are ``uint8`` or floating point; of other whole numbers the value of white is unknown."""
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(
            f"images must be uint8 or floating point, got {images.dtype}: give `images / white`, where white is 255 "
            "for 8-bit pixels and 65535 for 16-bit ones"
        )


def check_colours(images: Tensor) -> None:
    """Checks that images are grey or coloured: that they have 1 or 3 channels."""
    channels = images.shape[1]
    if channels not in (1, 3):
        some = "`images[:, :3]`" if channels > 3 else "one of them, `images[:, :1]`"
        raise ValueError(
            f"images must be grey or coloured here, with 1 or 3 channels, got {channels}: give the channels that are "
            f"grey or red, green and blue, e.g. {some}"
        )


def check_amount(name: str, value: Amount, low: float = 0.0, high: float = math.inf) -> None:
    """Checks that one or several numbers are finite and in a range, ends included."""
    numbers = torch.as_tensor(value).detach().cpu().double()
    if not bool(((numbers >= low) & (numbers <= high) & numbers.isfinite()).all()):  # NaN fails too
        wanted = f"{low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {numbers.tolist()}")


def column(name: str, value: Amount, images: Tensor, low: float = 0.0, high: float = math.inf) -> Column:
    """A setting in the images' type and on their device; its range and shape are checked."""
    check_amount(name, value, low, high)
    numbers = torch.as_tensor(value, dtype=images.dtype, device=images.device)
    if numbers.ndim and numbers.shape != images.shape[:1]:
        raise ValueError(
            f"{name} must be one number or one per image, shape ({len(images)},), got shape {tuple(numbers.shape)}"
        )
    return numbers.reshape(-1, 1, 1, 1)


def per_image(seeds: Tensor, images: Tensor) -> Seeds:
    """Seeds, checked to be one int64 number per image, on the images' device."""
    if seeds.shape != images.shape[:1] or seeds.dtype != torch.int64:
        raise ValueError(
            f"seeds must be int64 numbers, one per image, shape ({len(images)},), got {seeds.dtype} of shape "
            f"{tuple(seeds.shape)}: `draw_seeds({len(images)})` draws them"
        )
    return seeds.to(images.device)


def by_setting(images: Tensor, **values: Amount) -> Iterator[tuple[Tensor | slice, dict[str, float]]]:
    """Rows of a batch and the settings they share, for those that cannot differ in a batch, such as kernel sizes."""
    if all(isinstance(value, float | int) for value in values.values()):
        yield slice(None), {name: float(value) for name, value in values.items()}
        return
    columns = [column(name, value, images, -math.inf).flatten().expand(len(images)) for name, value in values.items()]
    settings, member = torch.stack(columns, 1).unique(dim=0, return_inverse=True)
    for number, setting in enumerate(settings.tolist()):
        rounded = [round(value, 6) for value in setting]  # 1.06 is 1.05999994 in float32, but 1.06 as a plain number
        yield (member == number).nonzero()[:, 0], dict(zip(values, rounded, strict=True))
