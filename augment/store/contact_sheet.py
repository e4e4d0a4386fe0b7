"""Thumbnails of the pairs in a file, by split and condition, as one picture."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from augment.store.reading import PairStore

MARGIN, TITLE, LARGEST, SMALLEST = 4, 18, 96, 48
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def contact_sheet(store: Path | str, picture: Path | str, *, columns: int = 10) -> Path:
    """Draws clean images above their changed ones, a row for each split and condition.

    Pairs are spread evenly over the sources; the same file gives the same picture.

    Args:
        store: A pair file.
        picture: The PNG file to write, whole or not at all.
        columns: Pairs in each row.

    Returns:
        The picture's path.

    Raises:
        ValueError: If `columns` is below 1, or the pair file is unusable.
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    picture, whole = Path(picture), PairStore(store)
    members = {
        f"{split} · {condition}": np.flatnonzero((whole.split == number) & (whole.condition == kind))
        for number, split in enumerate(whole.splits)
        for kind, condition in enumerate(whole.conditions)
    }
    strips = [(title, positions) for title, positions in members.items() if len(positions)]
    _, height, width = whole.shape
    scale = min(LARGEST / max(height, width), 1) if max(height, width) > SMALLEST else SMALLEST // max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    step, tall = size[0] + MARGIN, 2 * size[1] + TITLE + 2 * MARGIN
    sheet = Image.new("RGB", (columns * step + MARGIN, len(strips) * tall + MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (title, positions) in enumerate(strips):
        top = number * tall + MARGIN
        draw.text((MARGIN, top), f"{title}: {len(positions):,} pairs", _INK, font)
        clean, changed, *_ = whole.batch(positions[_spread(whole.sources[positions], columns)])
        for column, images in enumerate(zip(clean, changed, strict=True)):
            for line, image in enumerate(images):
                place = (MARGIN + column * step, top + TITLE + line * (size[1] + 1))
                sheet.paste(_thumbnail(image, size), place)
    _save(sheet, picture)
    return picture


def _spread(sources: Tensor, count: int) -> np.ndarray:
    """Positions of pairs, evenly over the sources; several of one source only if there are too few sources."""
    _, first = np.unique(sources.numpy(), return_index=True)
    pool = first if len(first) >= count else np.arange(len(sources))
    return pool[np.unique(np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(np.int64))]


def _thumbnail(image: Tensor, size: tuple[int, int]) -> Image.Image:
    pixels = image.numpy() if image.numpy().dtype == np.uint8 else (image.numpy() * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))
    kind = Image.Resampling.NEAREST if size[0] >= picture.width else Image.Resampling.BILINEAR
    return picture.convert("RGB").resize(size, kind)


def _save(sheet: Image.Image, picture: Path) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{picture.name}.", suffix=".png", dir=picture.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            sheet.save(stream, "PNG")
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0o077)  # there is no other way to ask for it
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(picture)
    finally:
        temporary.unlink(missing_ok=True)
