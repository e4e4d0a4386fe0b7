"""Reading image files: which are taken as they are, which are converted, and which are refused by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor, from_numpy

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
SMALLEST = 8
_PLAIN = ("L", "RGB", "1", "P", "LA", "PA", "RGBA")


class ImageError(ValueError):
    """A file that cannot be used as an image; the message names it and says why."""


def read_image(path: Path | str, *, channels: int = 3, size: tuple[int, int] | None = None) -> UInt8[Tensor, "C H W"]:
    """Reads an image file as 8-bit pixels, upright.

    A camera's note on orientation (EXIF) is obeyed. Palettes and 1-bit images are converted; an alpha channel is
    dropped where it is opaque everywhere, and refused otherwise, as nobody knows what shows through. Of several frames
    the first is read. Refused by name: more than 8 bits per channel, which would lose their lower bits; CMYK and
    other colour spaces, whose colours depend on a profile; images below 8×8 pixels.

    Args:
        path: The file.
        channels: 3 for RGB (grey images are repeated), 1 for grey (colours are weighted by luminance).
        size: Height and width: the image is scaled to just cover them (bilinear, antialiased) and cropped around its
            centre. As it is if not given.

    Raises:
        ImageError: If the file is missing, damaged, or of a kind that is refused.
    """
    image = _upright(Path(path), channels, size)
    pixels = np.array(image)  # a copy: Pillow's memory is read-only
    return from_numpy(pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def read_labels(path: Path | str, size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """Reads a label map: the numbers as they stand in a grey or palette file, scaled and cropped like an image.

    Args:
        path: The file.
        size: Height and width; between pixels the nearest one counts.

    Raises:
        ImageError: If the file is missing, damaged, or holds colours instead of numbers.
    """
    image = _decoded(Path(path))
    if image.mode not in ("L", "P", "1"):
        raise ImageError(f"{path} has mode {image.mode}: a label map is grey or has a palette, 8 bits a pixel")
    numbers = Image.fromarray(np.array(image).astype(np.uint8))  # drops the palette, which would be applied
    return from_numpy(np.array(ImageOps.fit(numbers, size[::-1], Image.Resampling.NEAREST)))


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an upright image, from the head of its file.

    Raises:
        ImageError: If the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # the four orientations that lie on their side
            return (image.width, image.height) if turned else (image.height, image.width)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(Path(path), error) from error


def common_size(paths: Sequence[Path], size: tuple[int, int] | None) -> tuple[int, int]:
    """The size that all images shall have: the one that is given, or else that of the first readable file.

    Raises:
        ValueError: If `size` is below 8 pixels, or no file is readable.
    """
    if size is not None:
        if len(size) != 2 or min(size) < SMALLEST:
            raise ValueError(f"size must be (height, width) of at least {SMALLEST} pixels each, got {tuple(size)}")
        return (size[0], size[1])
    for path in paths:
        try:
            return image_size(path)
        except ImageError:
            continue
    raise ValueError(f"no image could be read: {len(paths)} files, the first of them {paths[0] if paths else None}")


def list_images(root: Path | str) -> list[Path]:
    """Image files below a folder, as paths relative to it, in order of name; hidden files and folders are left out.

    Raises:
        ValueError: If there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"root must be a folder of images, got {root}")
    found = []
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        place = Path(folder).relative_to(root)
        found += [
            place / name for name in files if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
    return sorted(found, key=lambda path: path.as_posix())


def check_channels(channels: int) -> None:
    """Refuses numbers of channels other than 1 and 3."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")


def _upright(path: Path, channels: int, size: tuple[int, int] | None) -> Image.Image:
    image = _decoded(path)
    if image.mode not in _PLAIN:
        raise ImageError(
            f"{path} has mode {image.mode}, which is not converted: save it as 8-bit grey or RGB, with its colour "
            "profile applied"
        )
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.array(image.getchannel("A")).min() < 255:
            raise ImageError(f"{path} has transparent pixels: put it on a background and save it without alpha")
    if min(image.size) < SMALLEST:
        raise ImageError(f"{path} has {image.height}×{image.width} pixels: the smallest are {SMALLEST}×{SMALLEST}")
    image = image.convert("RGB" if channels == 3 else "L")
    return image if size is None else ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)


def _decoded(path: Path) -> Image.Image:
    """The pixels as the file has them, upright."""
    try:
        with Image.open(path) as image:
            deep = any(_deep(tile.codec_name, tile.args) for tile in image.tile)
            image.load()
            found = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders fail in many ways on damaged files, none of which tells the file
        raise _unreadable(path, error) from error
    if deep or found.mode.startswith(("I", "F")):
        raise ImageError(f"{path} has more than 8 bits a channel (mode {found.mode}): save it with 8 bits")
    return found


def _deep(codec: str, arguments: Any) -> bool:
    """Whether pixels have more than 8 bits a channel in the file, which Pillow's mode does not tell of colours."""
    if codec.startswith("ppm"):
        return isinstance(arguments, tuple) and arguments[-1] > 255
    return re.search(";16[BLN]", str(arguments)) is not None


def _unreadable(path: Path, error: Exception) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path} is missing")
    return ImageError(f"{path} cannot be read as an image ({type(error).__name__}: {error})")
