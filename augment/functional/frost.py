"""Frost: ice on a pane, added to the image.

The texture of ice grows crystals from the border of the pane: feathers with barbs on both sides of their stems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from augment._types import Images, Seeds
from augment.double_precision import in_double
from augment.functional.colour import luminance
from augment.functional.counter import uniform
from augment.functional.images import Amount, check_colours, column, on_unit_images, per_image
from augment.functional.weather import plasma

Field = Float[Tensor, "B H W"]

Photograph = Float[Tensor, "3 _ _"]
"""A colour photograph of any size, in [0, 1]."""

BARBS = 64  # different barbs on each side of a stem
SLANT = 1 / math.tan(math.pi / 3)  # barbs leave the stem at 60 degrees, as ice has hexagonal symmetry
CLEAR, WHITE = (0.12, 0.30, 0.42), (0.95, 0.98, 1.00)  # colours of the pane without ice, and of the thickest ice


@on_unit_images
def frost(
    images: Images, weight: Amount, amount: Amount, seeds: Seeds, photographs: Sequence[Photograph] | None = None
) -> Images:
    r"""Adds frost to each image, :math:`x' = a x + b F`.

    :math:`F` is a :func:`frost_texture`, or a random crop of a random photograph. Grey images get its luminance.

    Args:
        images: Grey or colour images.
        weight: Weight :math:`a \ge 0` of the image.
        amount: Weight :math:`b \ge 0` of the frost.
        seeds: One per image.
        photographs: Photographs of frost in [0, 1], each at least as large as the images.
    """
    check_colours(images)
    weight, amount = column("weight", weight, images), column("amount", amount, images)
    seeds, size = per_image(seeds, images), images.shape[2:]
    texture = frost_texture(seeds, *size) if photographs is None else crops(photographs, seeds, *size)
    texture = texture.to(images.device, images.dtype)
    return weight * images + amount * (luminance(texture) if images.shape[1] == 1 else texture)


def frost_texture(seeds: Seeds, height: int, width: int) -> Float[Tensor, "B 3 H W"]:
    """Bluish white feathers of ice on a dark pane, in [0, 1], one texture per seed: :func:`crystals` in colour."""
    ice = crystals(seeds, height, width)[:, None]
    clear, white = (ice.new_tensor(colour).view(1, 3, 1, 1) for colour in (CLEAR, WHITE))
    return torch.lerp(clear, white, ice)


def crops(photographs: Sequence[Photograph], seeds: Seeds, height: int, width: int) -> Float[Tensor, "B 3 H W"]:
    """A random crop of a random photograph for each seed.

    Raises:
        ValueError: If there is no photograph, or one is smaller than the crops.
    """
    if not photographs:
        raise ValueError("photographs must hold at least one, got none: leave it out for a texture that is made")
    which, down, right = uniform(seeds, 3, "frost: crop").unbind(1)
    chosen = (which * len(photographs)).long()
    parts = torch.empty(len(seeds), 3, height, width, device=seeds.device)
    for number, photograph in enumerate(photographs):
        rows, columns = photograph.shape[1] - height + 1, photograph.shape[2] - width + 1
        if min(rows, columns) < 1:
            raise ValueError(
                f"photographs must be at least as large as the images, {height}x{width}, got "
                f"{photograph.shape[1]}x{photograph.shape[2]} at {number}: enlarge it or leave it out"
            )
        images = (chosen == number).nonzero()[:, 0]
        windows = photograph.to(seeds.device).unfold(1, height, 1).unfold(2, width, 1)
        top, left = (down[images] * rows).long(), (right[images] * columns).long()
        parts[images] = windows[:, top, left].transpose(0, 1).to(parts.dtype)
    return parts


class Place(NamedTuple):
    """Each pixel's feather, and its coordinates there: along the stem, across it, and the share left to the tip."""

    feather: Int64[Tensor, "B H W"]
    along: Field
    across: Field
    left: Field


def crystals(seeds: Seeds, height: int, width: int) -> Field:
    """Whiteness of each pixel of a frosted pane, from 0 to 1, one pane per seed.

    Feathers start at the border and point inwards; each pixel belongs to the feather with the nearest stem. A fractal
    cloud bends them and thickens the ice, more so at the border, and noise of single pixels glitters.
    """
    shorter = min(height, width)
    y, x = ((torch.arange(length, device=seeds.device) + 0.5) / shorter for length in (height, width))
    cloud = plasma(seeds, 1 << (max(height, width) - 1).bit_length(), torch.full((1, 1, 1), 1.35, device=seeds.device))
    cloud = cloud[:, :height, :width]
    count = round(1.8 * math.sqrt(shorter))
    place = nearest(grow(seeds, count, height / shorter, width / shorter), y[:, None], x, 0.08 * (cloud - 0.5))
    inwards = torch.minimum(torch.minimum(y, y.flip(0))[:, None], torch.minimum(x, x.flip(0)))
    glitter = uniform(seeds, height * width, "frost: glitter").view_as(cloud) - 0.5
    feather = (0.6 - 0.65 * inwards) * barbs(place, seeds, count, cloud, max(0.028, 2.2 / shorter))
    stem = 0.3 * stems(place, max(0.006, 0.5 / shorter))
    return (0.18 + 0.55 * (1 - inwards) * cloud + feather + stem + 0.25 * glitter).clamp(0, 1)


def grow(seeds: Seeds, count: int, height: float, width: float) -> Float[Tensor, "K 7 B 1 1"]:
    """Feathers at even distances along the border, each within 43 degrees of the direction to the centre.

    Numbers of a feather, in units of the pane's shorter side: the root's x and y, cosine and sine of the direction,
    length, curvature and thinness.
    """
    share, turn, length, bend, thinness = uniform(seeds, 5 * count, "frost: feathers").view(-1, 5, count).unbind(1)
    place = (torch.arange(count, device=seeds.device) + share) / count * (2 * (height + width))
    # Around the border by four ramps: right, down, left, up.
    x = place.clamp(max=width) - (place - width - height).clamp(0, width)
    y = (place - width).clamp(0, height) - (place - 2 * width - height).clamp(0, height)
    # In float64, so that what is rounded to float32 is the same on every device and in every batch.
    direction = torch.atan2(in_double(height / 2 - y), in_double(width / 2 - x)) + in_double(1.5 * (turn - 0.5))
    cos, sin = direction.cos().to(turn), direction.sin().to(turn)
    root, shape = [x - 0.05 * cos, y - 0.05 * sin], [0.2 + 0.5 * length, 1.2 * (bend - 0.5), 0.6 + 0.8 * thinness]
    return torch.stack([*root, cos, sin, *shape]).permute(2, 0, 1)[..., None, None]


def nearest(feathers: Tensor, y: Tensor, x: Tensor, shift: Field) -> Place:
    """The feather that each pixel belongs to, and its coordinates there; stems are shifted sideways by `shift`."""
    closest = torch.full_like(shift, math.inf)
    along, across, left = shift, shift, shift
    owner = torch.zeros_like(shift, dtype=torch.int64)
    for number, (root_x, root_y, cos, sin, length, bend, thinness) in enumerate(feathers):
        right, down = x - root_x, y - root_y
        forward = right * cos + down * sin
        sideward = down * cos - right * sin + bend * forward.square() + shift
        ahead = length - forward
        beyond = (-ahead).clamp(min=0) + (-forward).clamp(min=0)
        distance = (sideward.abs() + 2 * beyond) * thinness
        closer = distance < closest
        closest = torch.where(closer, distance, closest)
        along, across = torch.where(closer, forward, along), torch.where(closer, sideward, across)
        left, owner = torch.where(closer, ahead / length, left), owner.masked_fill(closer, number)
    return Place(owner, along, across, left)


def barbs(place: Place, seeds: Seeds, count: int, cloud: Field, spacing: float) -> Field:
    """Whiteness of the barbs: ridges at the given spacing, each with a length and strength of its own."""
    phase = (place.along - SLANT * place.across.abs()) / spacing + 1.5 * cloud
    number = phase.floor()
    which = (place.feather * BARBS + number.long() % BARBS) * 2 + (place.across > 0)
    table = uniform(seeds, 2 * BARBS * count, "frost: barbs")
    size = table.gather(1, which.flatten(1)).view_as(cloud)
    ridge = 1 - (2 * (phase - number) - 1).abs()
    reach = 0.16 * place.left.clamp(0.05, 1).sqrt() * (0.3 + size)
    return ridge * (0.5 + 0.5 * size) * torch.exp(-(place.across / reach).square())


def stems(place: Place, thickness: float) -> Field:
    """Whiteness of the stems: thinner towards the tip, and none behind the root."""
    behind = place.along.clamp(max=0) / 0.02
    return place.left.clamp(0, 1).sqrt() * torch.exp(-(place.across / thickness).square() - behind.square())
