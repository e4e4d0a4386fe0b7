"""What every corruption takes and gives: images of either kind, and numbers that are one for all or one per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor

from augment._types import PerImage, Seeds
from augment.value_range import in_range

P = ParamSpec("P")

SMALLEST = 8
"""Height and width, in pixels, below which the corruptions mean nothing."""

Amount = int | float | PerImage
"""A number for all images, or one per image."""


def on_unit_images(function: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Lets a function of float images in [0, 1] take ``uint8`` images and any floating type as well.

    What it returns is cut to [0, 1] and brought back to the type that came; ``uint8`` is rounded. The function
    computes in float32, or in float64 if that came.

    Args:
        function: Takes images ``[B, C, H, W]`` and further arguments; returns images of the same shape.

    Returns:
        The function for both kinds of images.
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
    """A batch of images; refuses what no corruption can change, and clamps what rounding left outside of [0, 1].

    Raises:
        ValueError: If there is no batch of images of at least 8×8 pixels, ``uint8`` or in [0, 1].
    """
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
    """Refuses images that are neither ``uint8`` nor floating point.

    Raises:
        ValueError: If they are whole numbers of another type, whose white nobody knows.
    """
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(
            f"images must be uint8 or floating point, got {images.dtype}: give `images / white`, where white is 255 "
            "for 8-bit pixels and 65535 for 16-bit ones"
        )


def check_colours(images: Tensor) -> None:
    """Refuses images that are neither grey nor coloured, for what treats colours as colours.

    Raises:
        ValueError: If there are not 1 or 3 channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        some = "`images[:, :3]`" if channels > 3 else "one of them, `images[:, :1]`"
        raise ValueError(
            f"images must be grey or coloured here, with 1 or 3 channels, got {channels}: give the channels that are "
            f"grey or red, green and blue, e.g. {some}"
        )


def check_amount(name: str, value: Amount, low: float = 0.0, high: float = math.inf) -> None:
    """Refuses numbers outside a range.

    Args:
        name: The argument's name, for the message.
        value: A number for all images, or one per image.
        low: Smallest number that is allowed.
        high: Largest number that is allowed.

    Raises:
        ValueError: If a number is out of the range, infinite or NaN.
    """
    numbers = torch.as_tensor(value).detach().cpu().double()
    if not bool(((numbers >= low) & (numbers <= high) & numbers.isfinite()).all()):  # NaN fails too
        wanted = f"{low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {numbers.tolist()}")


def column(value: Amount, images: Tensor, name: str) -> Tensor:
    """A number for all images, or one per image, in the images' type, on their device and ready to broadcast.

    Args:
        value: The number or numbers.
        images: Images ``[B, C, H, W]``.
        name: The argument's name, for the message.

    Returns:
        Shape ``[B, 1, 1, 1]``, or ``[1, 1, 1, 1]`` for one number.

    Raises:
        ValueError: If there is neither one number nor one per image.
    """
    numbers = torch.as_tensor(value, dtype=images.dtype, device=images.device)
    if numbers.ndim and numbers.shape != images.shape[:1]:
        raise ValueError(
            f"{name} must be one number or one per image, shape ({len(images)},), got shape {tuple(numbers.shape)}"
        )
    return numbers.reshape(-1, 1, 1, 1)


def per_image(seeds: Tensor, images: Tensor) -> Seeds:
    """Seeds on the images' device.

    Raises:
        ValueError: If they are not one whole number of 64 bits per image.
    """
    if seeds.shape != images.shape[:1] or seeds.dtype != torch.int64:
        raise ValueError(
            f"seeds must be int64 numbers, one per image, shape ({len(images)},), got {seeds.dtype} of shape "
            f"{tuple(seeds.shape)}: `draw_seeds({len(images)})` draws them"
        )
    return seeds.to(images.device)


def by_setting(images: Tensor, **values: Amount) -> Iterator[tuple[Tensor | slice, dict[str, float]]]:
    """Sorts a batch by its settings, for what cannot differ inside one batch: sizes of kernels, numbers of passes.

    Args:
        images: Images ``[B, C, H, W]``.
        values: Numbers for all, or one per image.

    Yields:
        Rows of the batch and the settings that they share.
    """
    if all(isinstance(value, float | int) for value in values.values()):
        yield slice(None), {name: float(value) for name, value in values.items()}
        return
    columns = [column(value, images, name).flatten().expand(len(images)) for name, value in values.items()]
    settings, member = torch.stack(columns, 1).unique(dim=0, return_inverse=True)
    for number, setting in enumerate(settings.tolist()):
        meant = [round(value, 6) for value in setting]  # in float32 1.06 is 1.05999994: it means what it means for all
        yield (member == number).nonzero()[:, 0], dict(zip(values, meant, strict=True))
