"""Reading image files: which are taken as they are, which are converted, and which are refused by name."""

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
        OSError: If the file cannot be had for now: no permission, too many open files, a disk or network that fails.
    """
    return read_with_size(path, channels=channels, size=size)[0]


def read_with_size(
    path: Path | str, *, channels: int = 3, size: tuple[int, int] | None = None
) -> tuple[UInt8[Tensor, "C H W"], tuple[int, int]]:
    """As :func:`read_image`, with the height and width that the upright image has in its file."""
    image = _upright(Path(path), channels)
    found = (image.height, image.width)
    if size is not None and size != found:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image)  # a copy: Pillow's memory is read-only
    return from_numpy(pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))), found


def read_images(paths: Sequence[Path], *, channels: int, size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Reads image files of one shape as numbers in [0, 1].

    Args:
        paths: The files.
        channels: As for :func:`read_image`.
        size: As for :func:`read_image`.

    Raises:
        ImageError: If a file cannot be used.
        OSError: If a file cannot be had for now.
    """
    size = (size[0], size[1])
    read = [read_image(path, channels=channels, size=size) for path in paths]
    return (stack(read) if read else zeros(0, channels, *size)).float() / 255


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


class ImageReader:
    """Reads many files as images of one shape.

    Args:
        paths: The files; where no size is given, the first that is readable sets it.
        channels: 3 for RGB, 1 for grey.
        size: Height and width, at least 8 each: images are scaled and cropped to it as in :func:`read_image`.

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
                found = image_size(path)
                if min(found) >= SMALLEST:
                    self.first = path
                    return found
        raise ValueError(f"no image could be read among {len(paths)} files, the first of them {paths[0]}")

    def __call__(self, path: Path) -> tuple[UInt8[Tensor, "C H W"], tuple[int, int]]:
        """The image, and the height and width that it has in its file; as it is where those are not the size.

        Raises:
            ImageError: If the file cannot be used.
        """
        return read_with_size(path, channels=self.channels, size=self.size)

    def refuse_other_size(self, path: Path, found: tuple[int, int]) -> None:
        """Refuses an image that has not the size of the others, where none was asked for.

        Raises:
            ValueError: Naming both files.
        """
        if self.size is None and found != self.expected:
            raise ValueError(
                f"images must have one size, got {found[0]}×{found[1]} in {path} and "
                f"{self.expected[0]}×{self.expected[1]} in {self.first}: give size=(height, width), to which all are "
                "scaled and cropped"
            )


def check_shape(channels: int, size: tuple[int, int] | None) -> None:
    """Refuses numbers of channels other than 1 and 3, and sizes below the smallest."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    if size is not None and (len(size) != 2 or min(size) < SMALLEST):
        raise ValueError(f"size must be (height, width) of at least {SMALLEST} pixels each, got {tuple(size)}")


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
        raise ImageError(
            f"{path} has more than 8 bits a channel (mode {found.mode}): save it with 8 bits, by {_shallow(found.mode)}"
        )
    return found


def _shallow(mode: str) -> str:
    """How to save an image with 8 bits; Pillow's own conversion of grey images would cut them at 255."""
    if mode.startswith(("I", "F")):
        return (
            "`Image.fromarray((numpy.array(image) / white * 255).round().astype(numpy.uint8))`, where white is 65535 "
            "for 16 bits"
        )
    return "`Image.open(path).save(other_path)`, which keeps the upper 8"


def _deep(codec: str, arguments: Any) -> bool:
    """Whether pixels have more than 8 bits a channel in the file, which Pillow's mode does not tell of colours."""
    if codec.startswith("ppm"):
        return isinstance(arguments, tuple) and arguments[-1] > 255
    return re.search(";16[BLN]", str(arguments)) is not None


def _unreadable(path: Path, error: Exception) -> Exception:
    """What to raise: a fault of the file, or one of the machine, which may pass and condemns no file."""
    number = error.errno if isinstance(error, OSError) else None  # Pillow's own errors have none
    if number not in (None, errno.ENOENT, errno.EINVAL):  # EINVAL: damaged files ask for impossible positions
        return OSError(number, os.strerror(number), str(path))
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{path} is missing")
    return ImageError(f"{path} cannot be read as an image ({type(error).__name__}: {error})")
