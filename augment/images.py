"""Reading image files, which are converted to 8-bit RGB or grey if nothing is lost, and refused otherwise."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor, from_numpy, stack, zeros

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
SMALLEST = 8
_PLAIN = ("L", "RGB", "1", "P", "LA", "PA", "RGBA")


class ImageError(ValueError):
    """An error about a file that cannot be used as an image; the message has its name and the reason."""


def read_image(path: Path | str, *, channels: int = 3, size: tuple[int, int] | None = None) -> UInt8[Tensor, "C H W"]:
    """Reads an image file as 8-bit pixels, upright.

    The orientation in EXIF data is applied. Palettes and 1-bit images are converted, and an opaque alpha channel is
    dropped. Of several frames the first is read. Refused are images with transparent pixels, with more than 8 bits per
    channel, in CMYK and other colour spaces that need a profile, and below 8x8 pixels.

    Args:
        path: The file.
        channels: 3 for RGB (grey images are repeated), 1 for grey (colours are weighted by luminance).
        size: Height and width: the image is scaled to cover them (bilinear, antialiased) and cropped around its centre.
            Not scaled if not given.

    Raises:
        ImageError: If the file is missing, damaged, or of a kind that is refused.
        OSError: If reading fails for other reasons: no permission, too many open files, a disk or network error.
    """
    return read_with_size(path, channels=channels, size=size)[0]


def read_with_size(
    path: Path | str, *, channels: int = 3, size: tuple[int, int] | None = None
) -> tuple[UInt8[Tensor, "C H W"], tuple[int, int]]:
    """As :func:`read_image`, with the height and width of the upright image in its file."""
    image = _upright(Path(path), channels)
    original = (image.height, image.width)
    if size is not None and size != original:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image)  # a copy: Pillow's memory is read-only
    return from_numpy(pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))), original


def read_images(paths: Sequence[Path], *, channels: int, size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Reads image files as floats in [0, 1]; arguments and errors as for :func:`read_image`."""
    size = (size[0], size[1])
    read = [read_image(path, channels=channels, size=size) for path in paths]
    return (stack(read) if read else zeros(0, channels, *size)).float() / 255


def read_labels(path: Path | str, size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """Reads a label map: the numbers in a grey or palette file, scaled (nearest neighbour), cropped like an image."""
    image = _decoded(Path(path))
    if image.mode not in ("L", "P", "1"):
        raise ImageError(f"{path} has mode {image.mode}: a label map is grey or has a palette, 8 bits a pixel")
    numbers = Image.fromarray(np.array(image).astype(np.uint8))  # drops the palette, which would be applied
    return from_numpy(np.array(ImageOps.fit(numbers, size[::-1], Image.Resampling.NEAREST)))


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an upright image, from the header of its file; raises `ImageError` if it is no image."""
    try:
        with Image.open(path) as image:
            rotated = image.getexif().get(0x0112, 1) >= 5  # the four orientations by a quarter turn
            return (image.width, image.height) if rotated else (image.height, image.width)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(Path(path), error) from error


class ImageReader:
    """Reads many files as images of one shape.

    If no size is given, it is that of the first readable file; otherwise images are scaled and cropped to it.

    Raises:
        ValueError: If an argument is out of range, or no file is readable.
    """

    def __init__(self, paths: Sequence[Path], channels: int, size: tuple[int, int] | None) -> None:
        check_shape(channels, size)
        self.channels, self.size, self.first = channels, size and (size[0], size[1]), Path()
        self.expected = self.size or self._first_size(paths)

    def _first_size(self, paths: Sequence[Path]) -> tuple[int, int]:
        for path in paths:
            with suppress(ImageError):
                size = image_size(path)
                if min(size) >= SMALLEST:
                    self.first = path
                    return size
        raise ValueError(f"no image could be read among {len(paths)} files, the first of them {paths[0]}")

    def __call__(self, path: Path) -> tuple[UInt8[Tensor, "C H W"], tuple[int, int]]:
        """The image, and its height and width in the file, as from :func:`read_with_size`."""
        return read_with_size(path, channels=self.channels, size=self.size)

    def refuse_other_size(self, path: Path, size: tuple[int, int]) -> None:
        """Refuses an image of another size than the first one, if none was given."""
        if self.size is None and size != self.expected:
            raise ValueError(
                f"images must have one size, got {size[0]}×{size[1]} in {path} and "
                f"{self.expected[0]}×{self.expected[1]} in {self.first}: give size=(height, width), to which all are "
                "scaled and cropped"
            )


def check_shape(channels: int, size: tuple[int, int] | None) -> None:
    """Checks that there are 1 or 3 channels, and that a size is not below the smallest."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    if size is not None and (len(size) != 2 or min(size) < SMALLEST):
        raise ValueError(f"size must be (height, width) of at least {SMALLEST} pixels each, got {tuple(size)}")


def list_images(root: Path | str, argument: str = "root") -> list[Path]:
    """Image files below a folder, as paths relative to it, in order of name, without hidden files and folders.

    Args:
        root: The folder.
        argument: What the caller's user calls it.

    Raises:
        ValueError: If it is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{argument} must be a folder of images, got {root}")
    paths = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        images = (name for name in files if os.path.splitext(name)[1].lower() in SUFFIXES)
        paths += [Path(folder).relative_to(root) / name for name in images if not name.startswith(".")]
    return sorted(paths, key=lambda path: path.as_posix())


def _upright(path: Path, channels: int) -> Image.Image:
    image = _decoded(path)
    if image.mode not in _PLAIN:
        raise ImageError(
            f"{path} has mode {image.mode}, which is not converted: save it as 8-bit grey or RGB, with its colour "
            "profile applied"
        )
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.array(image.getchannel("A")).min() < 255:
            raise ImageError(
                f"{path} has transparent pixels: put it on a background and save it without alpha, "
                "`Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image.convert('RGBA')).convert('RGB')`"
            )
    if min(image.size) < SMALLEST:
        raise ImageError(f"{path} has {image.height}×{image.width} pixels: the smallest are {SMALLEST}×{SMALLEST}")
    return image.convert("RGB" if channels == 3 else "L")


def _decoded(path: Path) -> Image.Image:
    """The upright image in the mode of its file."""
    try:
        with Image.open(path) as image:
            deep = any(_deep(tile[0], tile[3]) for tile in image.tile)
            image.load()
            upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds of errors for damaged files, without the file's name
        raise _unreadable(path, error) from error
    if deep or upright.mode.startswith(("I", "F")):
        advice = "`Image.open(path).save(other_path)`, which keeps the upper 8"
        if upright.mode.startswith(("I", "F")):  # Pillow's own conversion of grey images clips them at 255
            advice = (
                "`Image.fromarray((numpy.array(image) / white * 255).round().astype(numpy.uint8))`, where white is "
                "65535 for 16 bits"
            )
        raise ImageError(
            f"{path} has more than 8 bits a channel (mode {upright.mode}): save it with 8 bits, by {advice}"
        )
    return upright


def _deep(codec: str, arguments: Any) -> bool:
    """Whether the file has more than 8 bits per channel; for colours Pillow's mode does not show it."""
    if codec.startswith("ppm"):
        return isinstance(arguments, tuple) and arguments[-1] > 255
    return re.search(";16[BLN]", str(arguments)) is not None


def _unreadable(path: Path, error: Exception) -> Exception:
    """The error to raise: about the file, or about the machine, where the file may be readable later."""
    number = error.errno if isinstance(error, OSError) else None  # Pillow's own errors have none
    if number not in (None, errno.ENOENT, errno.EINVAL):  # EINVAL: seeking in damaged files
        return OSError(number, os.strerror(number), str(path))
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path} is missing")
    return ImageError(f"{path} cannot be read as an image ({type(error).__name__}: {error})")
