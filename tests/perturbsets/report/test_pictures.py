from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from perturbsets.report.pictures import Grid, Group, Row, encode_png


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_hold_the_pixels(channels: int) -> None:
    image = torch.rand(channels, 5, 7)
    pixels = opened(encode_png(image)).reshape(5, 7, channels)

    assert np.array_equal(pixels, (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy())


def test_other_numbers_of_channels_are_averaged_and_values_clamped() -> None:
    image = torch.stack([torch.full((2, 2), value) for value in (0.2, 0.4)])
    assert (opened(encode_png(image)) == round(255 * 0.3)).all()
    assert opened(encode_png(torch.tensor([[[-1.0, 2.0]]]))).tolist() == [[0, 255]]


def grid(width: int = 6) -> Grid:
    rows = [Row(label, torch.rand(5, 1, 4, width)) for label in ("first", "second")]
    return Grid("some", "Some", "alt", "caption", rows, [Group("", 2), Group("heading", 3)])


def test_tiles_come_by_group() -> None:
    shown = grid()
    tiles = shown.tiles(shown.rows[1])

    assert [len(part) for part in tiles] == [2, 3]
    png = base64.b64decode(tiles[1][0][0].removeprefix("data:image/png;base64,"))
    assert np.array_equal(opened(png), (255 * shown.rows[1].images[2, 0]).round().to(torch.uint8).numpy())
    assert shown.headed


@pytest.mark.parametrize(("width", "squares"), [(28, True), (224, False)])
def test_small_images_show_their_pixels(width: int, squares: bool) -> None:
    assert grid(width).pixelated is squares


def test_the_whole_grid_is_a_picture_with_the_images_in_it() -> None:
    rows = [Row("black", torch.zeros(2, 1, 8, 8)), Row("white", torch.ones(2, 1, 8, 8))]
    pixels = opened(Grid("some", "Some", "alt", "caption", rows, [Group("both", 2)]).png())[..., :3]

    black = (pixels == 0).all(-1)
    assert 0.1 < black.mean() < 0.5
    assert black.any(1).argmax() < pixels.shape[0] / 2  # the first row is above
