"""Images in samples: which parts are images, their conversion to batches of floats in [0, 1], and back."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from augment.functional.images import check_type
from augment.value_range import in_range

MODES = ("L", "RGB")


def is_image(part: Any) -> bool:
    """Whether this is an image, or a batch of images."""
    return isinstance(part, Image.Image | tv_tensors.Image) or _is_plain_tensor(part) or is_array(part)


def _is_plain_tensor(part: Any) -> bool:
    return isinstance(part, Tensor) and not isinstance(part, tv_tensors.TVTensor)


def is_array(part: Any) -> bool:
    """Whether this is an image, or a batch of images, as an array."""
    if not isinstance(part, np.ndarray) or part.dtype != np.uint8:
        return False
    return part.ndim == 2 or (part.ndim in (3, 4) and part.shape[-1] in (1, 3))


def is_plain_colour(part: Any) -> bool:
    """Whether this is a colour image that is a plain tensor or an array, so no mask and no label."""
    if is_array(part):
        return bool(part.shape[-1] == 3)
    return _is_plain_tensor(part) and part.ndim >= 3 and part.shape[-3] == 3


def no_image(parts: list[Any]) -> str:
    """The message for a sample without an image, with what to give instead."""
    kinds = sorted(
        {
            f"a {part.dtype} array {list(part.shape)}" if isinstance(part, np.ndarray) else type(part).__name__
            for part in parts
        }
    ) or ["nothing"]
    advice = "add the image"
    if len(parts) and isinstance(parts[0], np.ndarray):
        advice = _array_advice(parts[0])
    elif len(parts) and isinstance(parts[0], str | PurePath):
        advice = "read the file first, `augment.read_image(path)`"
    return (
        "sample must hold an image (a PIL image, a tensor [..., C, H, W], or a uint8 array [H, W] or [..., H, W, C] of "
        f"1 or 3 channels), got {', '.join(kinds)}: {advice}"
    )


def _array_advice(array: np.ndarray) -> str:
    """What to write for an array that is no image by its shape or type."""
    if np.issubdtype(array.dtype, np.floating):
        how = "torch.from_numpy(array)[None]" if array.ndim == 2 else "torch.from_numpy(array).movedim(-1, -3)"
        return f"give floats in [0, 1] as a tensor, `{how}` where channels are last"
    if array.dtype != np.uint8:
        return "scale it to 8 bits, `(array / white * 255).round().astype(numpy.uint8)`, white being its largest value"
    if array.ndim in (3, 4) and array.shape[-3] in (1, 3):
        return "put its channels last, `numpy.moveaxis(array, -3, -1)`, or give grey images as `array[..., None]`"
    if array.ndim in (3, 4) and array.shape[-1] in (2, 4):
        return f"leave out its last channel, which is no colour, `array[..., :{array.shape[-1] - 1}]`"
    return "give grey images as `array[..., None]`" if array.ndim == 3 else "bring it to one of these shapes"


def unit_batch(image: Any) -> Tensor:
    """Any image or batch of images as floats in [0, 1], ``[B, C, H, W]``."""
    if isinstance(image, Image.Image):
        if image.mode not in MODES:
            raise ValueError(f"PIL images must have mode L or RGB, got {image.mode}: give {_converted(image.mode)}")
        image = F.pil_to_tensor(image)
    if isinstance(image, np.ndarray):
        pixels = np.array(image if image.ndim > 2 else image[..., None], order="C")  # tensors have no negative strides
        image = torch.from_numpy(pixels).movedim(-1, -3)
    image = image.as_subclass(Tensor)
    if image.ndim < 3:
        advice = "if it is no image, wrap the image, `tv_tensors.Image(image)`, and this passes through"
        if image.ndim == 2:
            advice = "give a grey image as `image[None]`"
        raise ValueError(f"images must be [..., C, H, W], got {list(image.shape)}: {advice}")
    batch = image.reshape(-1, *image.shape[-3:])
    check_type(batch)
    if batch.dtype == torch.uint8:
        return batch.float() / 255
    batch = in_range(batch, normalized="put this transform before a Normalize")
    return batch if batch.dtype == torch.float64 else batch.float()


def _converted(mode: str) -> str:
    """What to write for a PIL image of another mode; Pillow's own conversion of deep images clips them at 255."""
    if mode == "F":
        return "its floats in [0, 1] as a tensor, `torch.from_numpy(numpy.array(image))[None]`"
    if mode.startswith("I"):
        return (
            "floats, `torch.from_numpy(numpy.array(image, dtype=numpy.float32) / white)[None]`, where white is 65535 "
            "for 16 bits"
        )
    if mode in ("1", "LA"):
        return "`image.convert('L')`"
    if mode in ("La", "RGBa"):
        return f"`image.convert('{mode.upper()}').convert('RGB')`"
    if mode == "LAB":
        return (
            "`ImageCms.profileToProfile(image, ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB'), "
            "outputMode='RGB')`"
        )
    return "`image.convert('RGB')`"


def like(image: Any, changed: Tensor) -> Any:
    """Changed images in the type, dtype and shape of the input."""
    if isinstance(image, Image.Image):
        return F.to_pil_image((changed[0].clamp(0, 1) * 255).round().byte(), mode=image.mode)
    if isinstance(image, np.ndarray):
        pixels = (changed.clamp(0, 1) * 255).round().byte().movedim(-3, -1)
        return pixels.cpu().numpy().reshape(image.shape)
    if image.dtype == torch.uint8:
        changed = (changed.clamp(0, 1) * 255).round()
    restored = changed.to(image.dtype).reshape(image.shape)
    return tv_tensors.wrap(restored, like=image) if isinstance(image, tv_tensors.TVTensor) else restored
