"""Frost: ice on a pane, laid over the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment._types import Images, Seeds
from augment.functional.colour import luminance
from augment.functional.counter import uniform
from augment.functional.crystals import crystals
from augment.functional.images import Amount, check_amount, check_colours, column, on_unit_images, per_image

Photograph = Float[Tensor, "3 _ _"]
"""A colour photograph of any size, in [0, 1]."""

CLEAR, WHITE = (0.12, 0.30, 0.42), (0.95, 0.98, 1.00)
"""Colours of the pane without ice, and of the thickest ice."""


@on_unit_images
def frost(
    images: Images, weight: Amount, amount: Amount, seeds: Seeds, photographs: Sequence[Photograph] | None = None
) -> Images:
    r"""Adds frost to each image, :math:`x' = a x + b F`.

    :math:`F` is a :func:`frost_texture`, or a part of a photograph, both chosen at random. Grey images get its
    luminance.

    Args:
        images: Grey or colour images, ``uint8`` or in [0, 1].
        weight: Share :math:`a` of the image.
        amount: Share :math:`b` of the frost.
        seeds: One per image; the same seeds give the same frost.
        photographs: Photographs of frost in [0, 1], each at least as large as the images.

    Returns:
        Images of the same shape and type.

    Raises:
        ValueError: If images are none, a setting is below 0 or neither one number nor one per image, or there is no
            photograph or too small a one.
    """
    check_colours(images)
    check_amount("weight", weight)
    check_amount("amount", amount)
    seeds, size = per_image(seeds, images), images.shape[2:]
    texture = frost_texture(seeds, *size) if photographs is None else crops(photographs, seeds, *size)
    texture = texture.to(images.device, images.dtype)
    ice = luminance(texture) if images.shape[1] == 1 else texture
    return column(weight, images, "weight") * images + column(amount, images, "amount") * ice


def frost_texture(seeds: Seeds, height: int, width: int) -> Float[Tensor, "B 3 H W"]:
    """Bluish white feathers of ice on a dark pane: :func:`augment.functional.crystals.crystals` in colour.

    Args:
        seeds: One per texture.
        height: Height in pixels.
        width: Width in pixels.

    Returns:
        Textures in [0, 1].
    """
    ice = crystals(seeds, height, width)[:, None]
    clear, white = (ice.new_tensor(colour).view(1, 3, 1, 1) for colour in (CLEAR, WHITE))
    return torch.lerp(clear, white, ice)


def crops(photographs: Sequence[Photograph], seeds: Seeds, height: int, width: int) -> Float[Tensor, "B 3 H W"]:
    """A part of one of the photographs for each seed, at a place of its own.

    Raises:
        ValueError: If there is no photograph, or too small a one.
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
