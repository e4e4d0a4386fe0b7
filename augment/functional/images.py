"""What every corruption takes and gives: images of either kind, and numbers that are one for all or one per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor

from augment._types import PerImage, Seeds

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
        check_images(images)
        if images.dtype == torch.uint8:
            unit = images.float() / 255
        else:
            unit = images.to(torch.promote_types(images.dtype, torch.float32))
        with torch.autocast(images.device.type, enabled=False):  # it would round pixels to 8 bits of mantissa
            result = function(unit, *args, **kwargs).clamp(0, 1) if len(images) else unit.clone()
        return (result * 255).round().to(torch.uint8) if images.dtype == torch.uint8 else result.to(images.dtype)

    return changed


def check_images(images: Tensor) -> None:
    """Refuses what no corruption can change.

    Raises:
        ValueError: If there is no batch of grey or colour images of at least 8×8 pixels, ``uint8`` or in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be [B, C, H, W] with 1 or 3 channels, got {list(images.shape)}: give one image as "
            "`image[None]`"
        )
    if min(images.shape[2:]) < SMALLEST:
        raise ValueError(
            f"images must have at least {SMALLEST}x{SMALLEST} pixels, got {images.shape[2]}x{images.shape[3]}: "
            "enlarge them first"
        )
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8 or floating point, got {images.dtype}: scale them to one of these")
    if images.numel():
        low, high = torch.aminmax(images.detach())
        if not (float(low) >= 0 and float(high) <= 1):  # NaN fails too
            raise ValueError(
                f"images must lie in [0, 1], got {float(low):.4g} to {float(high):.4g}: corrupt them before a Normalize"
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
    numbers = torch.as_tensor(value).detach().double()
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
