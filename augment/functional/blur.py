"""Blurs: Gaussian, defocus, motion, zoom and glass."""

from __future__ import annotations

import math
from collections import Counter

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from augment._types import Images, Seeds
from augment.double_precision import in_double
from augment.functional.counter import uniform
from augment.functional.filters import along_axes, filter_matrix, gaussian_weights
from augment.functional.images import Amount, Column, by_setting, check_amount, column, on_unit_images, per_image


@on_unit_images
def gaussian_blur(images: Images, sigma: Amount) -> Images:
    r"""Blurs by a Gaussian, truncated at four standard deviations, with edge padding.

    .. math:: y_p = \sum_q w_{q_1} w_{q_2}\, x_{p + q}, \quad w_t \propto e^{-t^2 / 2 \sigma^2}

    The standard deviation :math:`\sigma \ge 0` is in pixels.

    Example:
        >>> image = torch.zeros(1, 1, 9, 9)
        >>> image[0, 0, 4, 4] = 1
        >>> [round(value, 4) for value in gaussian_blur(image, 1.0)[0, 0, 4, 4:].tolist()]
        [0.1592, 0.0965, 0.0215, 0.0018, 0.0001]
    """
    width = column("sigma", sigma, images)[:, 0, 0]  # [B or 1, 1]: every channel has the same filter
    weights = gaussian_weights(width, (4 * width + 0.5).floor())
    height, length = images.shape[-2:]
    return along_axes(images, filter_matrix(weights, height, "edge"), filter_matrix(weights, length, "edge"))


@on_unit_images
def defocus_blur(images: Images, radius: Amount, sigma: Amount) -> Images:
    r"""Blurs like a lens out of focus: by a disk smoothed by a narrow Gaussian, with mirrored borders.

    Radius of the disk and standard deviation of the Gaussian are in pixels; the Gaussian's window has 3x3 of them, 5x5
    above radius 8. The kernel is symmetric, :math:`K = \sum_k \lambda_k q_k q_k^\top`, so it is computed as a sum of
    few separable filters.
    """
    check_amount("radius", radius)
    check_amount("sigma", sigma)
    changed = torch.empty_like(images)
    for rows, setting in by_setting(images, radius=radius, sigma=sigma):
        share, axes = torch.linalg.eigh(disk_kernel(setting["radius"], setting["sigma"]))
        kept = share.abs() > share.abs().max() * torch.finfo(images.dtype).eps
        down, along = (
            filter_matrix(axes.mT[kept], length, "reflect").to(images.device, images.dtype)
            for length in images.shape[-2:]
        )
        parts = zip(share[kept].tolist(), down, along, strict=True)
        part = images[rows]
        changed[rows] = sum(size * along_axes(part, matrix, other) for size, matrix, other in parts)
    return changed


def disk_kernel(radius: float, sigma: float) -> Tensor:
    """A disk of sum 1 on the grid of pixels, smoothed by a Gaussian: a kernel in float64, of odd size."""
    half = max(8, math.ceil(radius))
    offset = torch.arange(-half, half + 1, dtype=torch.float64)
    disk = (offset**2 + offset[:, None] ** 2 <= radius**2).double()
    window = torch.tensor(1 if radius <= 8 else 2)
    smooth = filter_matrix(gaussian_weights(offset.new_tensor(sigma), window), len(offset), "reflect")
    return along_axes(disk / disk.sum(), smooth, smooth)


@on_unit_images
def motion_blur(images: Images, radius: Amount, sigma: Amount, angle: Amount) -> Images:
    r"""Blurs along a line to one side of each pixel, with Gaussian weights and edge padding.

    .. math:: y_p = \sum_{i=0}^{2r} w_i\, x_{p + [i (\cos\theta, \sin\theta)]}, \quad w_i \propto e^{-i^2 / 2 \sigma^2}

    where brackets mean the nearest pixel.

    Args:
        images: Images.
        radius: Radius :math:`r` in pixels, a whole number: the line has 2r + 1 pixels.
        sigma: Standard deviation :math:`\sigma` in pixels, above 0.
        angle: Angle :math:`\theta` in degrees: 0 is to the right, 90 downwards.
    """
    return streak(
        images,
        radius=column("radius", radius, images),
        sigma=column("sigma", sigma, images, low=1e-6),
        angle=column("angle", angle, images, low=-math.inf),
    )


def streak(layers: Float[Tensor, "B C H W"], radius: Column, sigma: Column, angle: Column) -> Float[Tensor, "B C H W"]:
    r"""Convolves with one half of a Gaussian along a ray from each pixel, with edge padding.

    As :func:`motion_blur`, for layers of any range; the radius is rounded up, and the pixel at step i is
    :math:`p + \lceil i (\cos\theta, \sin\theta) - 1/2 \rceil`.
    """
    height, width = layers.shape[2:]
    spread = sigma.flatten(1)
    # Weights below the precision of the layers' type are left out.
    longest = spread * math.sqrt(-2 * math.log(torch.finfo(layers.dtype).eps))
    last = torch.minimum(2 * radius.ceil().flatten(1), longest.floor())
    reach = int(last.max())
    step = torch.arange(reach + 1, dtype=layers.dtype, device=layers.device)
    weights = (-0.5 * (step / spread) ** 2).exp() * (step <= last)
    weights = (weights / weights.sum(1, keepdim=True)).expand(len(layers), -1)
    # In float64, so that offsets are rounded alike on every device.
    turn = torch.deg2rad(in_double(angle.flatten(1))).expand(len(layers), 1)
    along = in_double(step)
    right, down = ((along * share - 0.5).ceil().long().to(layers.device) + reach for share in (turn.cos(), turn.sin()))

    # All shifts of each image, as a view: choosing one copies whole rows of pixels.
    shifted = pad(layers, [reach] * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    image = torch.arange(len(layers), device=layers.device)
    blurred = torch.zeros_like(layers)
    for weight, x, y in zip(weights.unbind(1), right.unbind(1), down.unbind(1), strict=True):
        blurred = blurred + weight.view(-1, 1, 1, 1) * shifted[image, :, y, x]
    return blurred


@on_unit_images
def zoom_blur(images: Images, largest: Amount, step: Amount) -> Images:
    r"""Averages an image and its zooms about the centre by factors 1, 1 + s, 1 + 2s and so on.

    A zoom by z enlarges the middle :math:`\lceil H / z \rceil \times \lceil W / z \rceil` pixels bilinearly, end points
    on end points. The `largest` factor is 1 or more, the step s 0.001 or more.
    """
    check_amount("largest", largest, low=1.0)
    check_amount("step", step, low=1e-3)
    changed = torch.empty_like(images)
    for rows, setting in by_setting(images, largest=largest, step=step):
        count = math.floor((setting["largest"] - 1) / setting["step"] + 1e-6) + 1
        factors = [1 + number * setting["step"] for number in range(count)]
        several = Counter(tuple(_crop(length, factor) for length in images.shape[-2:]) for factor in factors)
        part = images[rows]
        total = part
        for crops, times in several.items():  # several factors may give one crop
            down, along = (_enlarge(length, *crop, part) for length, crop in zip(part.shape[-2:], crops, strict=True))
            total = total + times * along_axes(part, down, along)
        changed[rows] = total / (count + 1)
    return changed


def _crop(length: int, factor: float) -> tuple[int, int]:
    """Length of the middle part of a line, and its length when enlarged; halves are rounded up, with a tolerance."""
    taken = math.ceil(length / factor - 1e-9)
    return taken, math.floor(taken * factor + 0.5 + 1e-9)


def _enlarge(length: int, taken: int, enlarged: int, like: Tensor) -> Tensor:
    """Bilinear enlargement of the middle of a line, cropped to the line, as a matrix."""
    pixel = torch.arange(length, dtype=like.dtype, device=like.device)
    source = (length - taken) // 2 + (pixel + (enlarged - length) // 2) * ((taken - 1) / (enlarged - 1))
    return (1 - (source[:, None] - pixel).abs()).clamp_min(0)


@on_unit_images
def glass_blur(images: Images, sigma: Amount, distance: Amount, passes: Amount, seeds: Seeds) -> Images:
    r"""Blurs by a Gaussian, displaces pixels by small random amounts, and blurs again, like frosted glass.

    A pass visits pixels from the lower right to the upper left; each takes the current value of the pixel displaced by
    :math:`U\{-d, \dots, d - 1\}` along either axis, with the distance d a whole number of pixels. Pixels closer to the
    border than d stay. The standard deviation of both blurs is in pixels.
    """
    check_amount("distance", distance)
    check_amount("passes", passes)
    smooth = gaussian_blur(images, sigma)
    seeds = per_image(seeds, images)
    height, width = images.shape[-2:]
    moved = torch.empty_like(images)
    for rows, setting in by_setting(images, distance=distance, passes=passes):
        reach, part = int(setting["distance"]), smooth[rows].flatten(2)
        source = torch.arange(height * width, device=images.device).expand(len(part), -1)
        for turn in range(int(setting["passes"])):
            share = uniform(seeds[rows], 2 * height * width, f"glass_blur {turn}")
            offset = (share * (2 * reach)).long().sub_(reach).view(-1, 2, height, width)
            source = source.gather(1, sequential_copies(offset, reach))
        moved[rows] = part.gather(2, source[:, None].expand_as(part)).unflatten(2, (height, width))
    return gaussian_blur(moved.clamp(0, 1), sigma)


def sequential_copies(offset: Tensor, reach: int) -> Tensor:
    """Position from which each pixel's value comes when pixels copy displaced ones, one after the other.

    Pixels are visited from the lower right to the upper left. One that copies a pixel visited before gets what that one
    copied, and so on: such chains are followed in doubling steps, for all pixels at once. Displacements
    ``[B, 2, H, W]`` are down and to the right; pixels of rows and columns up to `reach`, and from H - `reach` + 1 or
    W - `reach` + 1 on, stay. Positions ``[B, H * W]`` are those of the flat image.
    """
    count, _, height, width = offset.shape
    own = torch.arange(height * width, device=offset.device)
    row, col = own // width, own % width
    visited = (row > reach) & (row <= height - reach) & (col > reach) & (col <= width - reach)
    down, right = offset.flatten(2).unbind(1)
    target = torch.where(visited, own + down * width + right, own)
    # Positions from `height * width` on mean values after the pass: those of pixels visited earlier.
    follows = (target > own) & visited[target]
    following = torch.where(follows, target + height * width, target)
    while follows.any():
        ends = torch.cat([own.expand(count, -1), following], 1)
        following = ends.gather(1, following)
        follows = following >= height * width
    return following
