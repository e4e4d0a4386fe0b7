"""Faults of digital images as transforms."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision import tv_tensors

from augment import functional
from augment._types import Parameters
from augment.corruptions.base import CommonCorruption, Range, planes

# Changes of colour as transforms.


class Brightness(CommonCorruption):
    """Raises the value of each pixel: :func:`augment.functional.brightness`.

    Args:
        shift: Added value, on the range [0, 1]; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.brightness)

    def __init__(self, shift: Range = 0.15, **options: Any) -> None:
        super().__init__({"shift": shift}, **options)


class Contrast(CommonCorruption):
    """Draws each channel towards its mean: :func:`augment.functional.contrast`.

    Args:
        factor: What is left of the contrast; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.contrast)

    def __init__(self, factor: Range = 0.4, **options: Any) -> None:
        super().__init__({"factor": factor}, **options)


class Saturate(CommonCorruption):
    """Changes the saturation of each pixel: :func:`augment.functional.saturate`.

    Args:
        factor: Factor of the saturation; it and the shift are a number, or (low, high).
        shift: Added saturation, on the range [0, 1].
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.saturate)

    def __init__(self, factor: Range = 1.5, shift: Range = 0.0, **options: Any) -> None:
        super().__init__({"factor": factor, "shift": shift}, **options)


class JpegCompression(CommonCorruption):
    """Codes as JPEG and decodes: :func:`augment.functional.jpeg_compression`.

    Args:
        quality: From 1 to 95; a whole number, or (low, high), of which the whole part counts.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.jpeg_compression)

    def __init__(self, quality: Range = 58, **options: Any) -> None:
        super().__init__({"quality": quality}, **options)


class Pixelate(CommonCorruption):
    """Shrinks and enlarges without smoothing: :func:`augment.functional.digital`.

    Args:
        size: Share of each side's length, from 0 to 1; a number, or (low, high).
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.pixelate)

    def __init__(self, size: Range = 0.85, **options: Any) -> None:
        super().__init__({"size": size}, **options)


# The elastic change as a transform; it moves masks along.


class ElasticTransform(CommonCorruption):
    """Tilts and shakes each image: :func:`augment.functional.elastic_transform`.

    Masks move along by :func:`augment.functional.elastic_move`. Boxes and key points are refused.

    Args:
        displacement: Factor of the displacement in pixels; it and the rest are a number, or (low, high).
        sigma: Standard deviation in pixels of the Gaussian that smooths the displacement.
        tilt: Largest move in pixels of three points in x and y, which tilts the image.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.elastic_transform)

    def __init__(self, displacement: Range = 2.56, sigma: Range = 1.92, tilt: Range = 1.92, **options: Any) -> None:
        super().__init__({"displacement": displacement, "sigma": sigma, "tilt": tilt}, moves_pixels=True, **options)

    def move(self, target: Any, rows: Parameters) -> Any:
        """Moves a mask with the pixels of its image.

        Args:
            target: Masks ``[..., H, W]`` of one image, or ``[B, ..., H, W]`` of several.
            rows: One row of parameters per image.

        Returns:
            The masks moved.

        Raises:
            ValueError: If the target is no mask, or the masks do not match the rows.
        """
        if not isinstance(target, tv_tensors.Mask):
            raise ValueError(
                f"sample holds {type(target).__name__}, which cannot follow an elastic change, as it bends edges and "
                "displaces each pixel by itself: pass masks, and take boxes or points from what they become (for "
                "example by `torchvision.ops.masks_to_boxes`)"
            )
        layers = planes(target.as_subclass(Tensor), len(rows))
        moved = functional.elastic_move(layers, **self.arguments(rows.to(layers.device)))
        return tv_tensors.wrap(moved.view(target.shape), like=target)
