"""Image files of every kind that a folder of one's own may hold, good and bad."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    """A smooth picture that JPEG keeps nearly as it is; the left half is darker than the right."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    colours = np.stack([40 + 160 * x, 60 + 100 * y, 90 + 30 * np.sin(3 * x + seed)], 2)
    return Image.fromarray(colours.astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def write_rotated(path: Path, orientation: int = 6) -> None:
    """A picture that a camera held on its side has written: to be turned when shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}[orientation]
    path.write_bytes(jpeg(picture().transpose(turned), exif=exif))


def write_deep_colour(path: Path) -> None:
    """16 bits for each of three channels, which Pillow cannot write."""
    pixels = (np.asarray(picture()).astype(">u2") * 257).tobytes()
    path.write_bytes(b"P6\n32 24\n65535\n" + pixels)


def write_alpha(path: Path, alpha: int) -> None:
    image = picture().convert("RGBA")
    image.putalpha(alpha)
    image.save(path)


GOOD: dict[str, Callable[[Path], object]] = {
    "plain.png": lambda path: picture().save(path),
    "plain.jpg": lambda path: path.write_bytes(jpeg(picture())),
    "palette.png": lambda path: picture().convert("P", palette=Image.Palette.ADAPTIVE).save(path),
    "one_bit.png": lambda path: Image.fromarray(np.array(picture().convert("L")) >= 128).save(path),
    "grey.png": lambda path: picture().convert("L").save(path),
    "opaque.png": lambda path: write_alpha(path, 255),
    "rotated.jpg": write_rotated,
}
"""What is taken: how each file is written."""

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep.png": (lambda path: Image.fromarray(np.full((24, 32), 5000, np.uint16)).save(path), "more than 8 bits"),
    "deep_colour.ppm": (write_deep_colour, "more than 8 bits"),
    "float.tiff": (lambda path: Image.fromarray(np.zeros((24, 32), np.float32)).save(path), "more than 8 bits"),
    "cmyk.jpg": (lambda path: path.write_bytes(jpeg(picture().convert("CMYK"))), "mode CMYK"),
    "transparent.png": (lambda path: write_alpha(path, 128), "transparent pixels"),
    "truncated.jpg": (lambda path: path.write_bytes(jpeg(picture(120, 160))[:1500]), "cannot be read as an image"),
    "text.png": (lambda path: path.write_text("no image at all"), "cannot be read as an image"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "cannot be read as an image"),
    "small.png": (lambda path: picture(7, 32).save(path), "7×32 pixels"),
}
"""What is refused: how each file is written, and the telling words of the refusal."""
