from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.testing import assert_close

from augment import Frost
from augment.corruptions import at_severity
from augment.functional import draw_seeds, fog, frost, frost_texture, snow, spatter
from augment.functional.blur import streak
from augment.functional.colour import luminance
from augment.functional.counter import uniform
from augment.functional.spatter import distance_to, edges, even, relief
from augment.functional.weather import enlarge, plasma

FLAKES = {"mean": 0.3, "deviation": 0.3, "zoom": 1.25, "threshold": 0.65, "radius": 3.0, "sigma": 2.0, "angle": -70.0}
DROPS = {"mean": 0.65, "deviation": 0.3, "sigma": 1.0, "threshold": 0.69}


def column(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["fog", "snow", "spatter"])
def test_weather_is_as_strong_as_published(published: Any, name: str, severity: int) -> None:
    ratio, shift = published.against_statistics(at_severity(name, severity), f"{name}_{severity}")

    assert ratio == pytest.approx(1, abs=0.05)
    assert shift == pytest.approx(0, abs=0.005)


def loop_plasma(noise: Iterator[float], size: int, decay: float) -> np.ndarray:
    """The diamond-square method point by point."""
    grid, step, amplitude = np.zeros((size, size)), size, 1.0
    while step > 1:
        half, starts = step // 2, range(0, size, step)
        moves = {
            (part, i, j): amplitude * (2 * next(noise) - 1)
            for part in ("middle", "top", "left")
            for i in starts
            for j in starts
        }
        for i in starts:
            for j in starts:
                corners = [grid[(i + di) % size, (j + dj) % size] for di in (0, step) for dj in (0, step)]
                grid[i + half, j + half] = np.mean(corners) + moves["middle", i, j]
        for i in starts:
            for j in starts:
                for part, y, x in (("top", i, j + half), ("left", i + half, j)):
                    around = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                    grid[y, x] = np.mean([grid[a % size, b % size] for a, b in around]) + moves[part, i, j]
        step, amplitude = half, amplitude / decay**2
    return (grid - grid.min()) / (grid.max() - grid.min())


def test_plasma_is_that_of_a_loop(generator: torch.Generator) -> None:
    seeds = draw_seeds(2, generator=generator)
    decay = torch.tensor([1.75, 3.0]).view(2, 1, 1)
    noise = uniform(seeds, 256, "fog").tolist()
    expected = [loop_plasma(iter(row), 16, value) for row, value in zip(noise, (1.75, 3.0), strict=True)]

    assert_close(plasma(seeds, 16, decay), torch.from_numpy(np.stack(expected)).float(), rtol=0, atol=1e-6)


def test_fog_keeps_the_brightest_value_and_black(generator: torch.Generator) -> None:
    seeds = draw_seeds(2, generator=generator)
    images = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    images[1] = 0.6
    changed = fog(images, 1.5, 2.0, seeds)

    assert torch.equal(changed[0], images[0])
    # (m + a F) m / (m + a) with F from 0 to 1, on a plain image.
    assert_close(changed[1].amin(), torch.tensor(0.6 * 0.6 / 2.1, dtype=torch.float64))
    assert_close(changed[1].amax(), torch.tensor(0.6, dtype=torch.float64))
    assert torch.equal(fog(torch.zeros(2, 1, 8, 8), 0.0, 2.0, seeds), torch.zeros(2, 1, 8, 8))


def test_enlarging_is_that_of_scipy(generator: torch.Generator) -> None:
    layers = torch.randn(4, 1, 33, 32, generator=generator, dtype=torch.float64)
    zooms = (1.0, 1.1, 2.25, 4.5)  # 33 / 1.1 is a whole number
    expected = []
    for layer, zoom in zip(layers[:, 0].numpy(), zooms, strict=True):
        part = [int(np.ceil(length / zoom)) for length in layer.shape]
        first = [(length - short) // 2 for length, short in zip(layer.shape, part, strict=True)]
        cut = layer[first[0] : first[0] + part[0], first[1] : first[1] + part[1]]
        large = ndimage.zoom(cut, zoom, order=1)
        trim = [(long - length) // 2 for long, length in zip(large.shape, layer.shape, strict=True)]
        expected.append(large[trim[0] : trim[0] + 33, trim[1] : trim[1] + 32])

    assert_close(enlarge(layers, column(*zooms).double())[:, 0], torch.from_numpy(np.stack(expected)))
    single = enlarge(layers.float(), column(*zooms))[:, 0]
    assert_close(single, torch.from_numpy(np.stack(expected)).float(), rtol=0, atol=1e-5)


def test_streaks_are_those_of_a_loop(generator: torch.Generator) -> None:
    layers = torch.rand(3, 2, 9, 12, generator=generator, dtype=torch.float64)
    settings = [(3, 1.5, -100.0), (2, 4.0, 30.0), (0, 1.0, 7.0)]
    expected = torch.zeros_like(layers)
    for n, (radius, sigma, angle) in enumerate(settings):
        steps = np.arange(2 * radius + 1)
        weights = np.exp(-(steps**2) / (2 * sigma**2))
        for weight, step in zip(weights / weights.sum(), steps, strict=True):
            dx = int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
            dy = int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
            for y in range(9):
                for x in range(12):
                    there = layers[n, :, min(max(y + dy, 0), 8), min(max(x + dx, 0), 11)]
                    expected[n, :, y, x] += weight * there
    radii, sigmas, angles = (column(*values).double() for values in zip(*settings, strict=True))

    assert_close(streak(layers, radii, sigmas, angles), expected)


def test_snow_whitens_and_falls_from_two_sides(generator: torch.Generator) -> None:
    seeds = draw_seeds(3, generator=generator)
    images = torch.rand(3, 3, 16, 20, generator=generator, dtype=torch.float64) * 0.2
    flakes = snow(torch.zeros_like(images), **FLAKES, weight=1.0, seeds=seeds)

    assert flakes.amax() > 0.2
    assert torch.equal(flakes, flakes.flip(2, 3))
    grey = luminance(images)
    white = 0.6 * images + 0.4 * torch.maximum(images, 1.5 * grey + 0.5)
    changed = snow(images, **FLAKES, weight=0.6, seeds=seeds)
    assert_close(changed, (white + flakes).clamp(0, 1))


def test_snow_of_each_image_has_settings_of_its_own(generator: torch.Generator) -> None:
    images, seeds = torch.rand(3, 3, 16, 12, generator=generator), draw_seeds(3, generator=generator)
    spread = torch.tensor([0.5, 1.0, 1.5])
    settings = {name: value * spread for name, value in FLAKES.items()} | {"zoom": 1 + spread}
    together = snow(images, **settings, weight=0.5 * spread, seeds=seeds)
    for n in range(3):
        alone = {name: value[n : n + 1] for name, value in settings.items()}
        one = snow(images[n : n + 1], **alone, weight=0.5 * spread[n : n + 1], seeds=seeds[n : n + 1])
        assert_close(together[n], one[0], rtol=0, atol=1e-6)


def drops(generator: torch.Generator, size: int) -> Tensor:
    """Levels as water has them, with noise inside the drops."""
    noise = torch.from_numpy(ndimage.gaussian_filter(torch.randn(6, size, size, generator=generator), (0, 1, 1)))
    layer = 0.65 + 0.3 * noise[:, None]
    return (layer.where(layer > 0.69, 0).clamp(0, 1) * 255).floor()


def test_edges_are_those_of_opencv(generator: torch.Generator) -> None:
    cv2 = pytest.importorskip("cv2")
    levels = drops(generator, 48)
    levels[0] = torch.rand(1, 48, 48, generator=generator).mul(100).floor()  # weak edges, here and there a strong one
    expected = np.stack([cv2.Canny(layer.byte().numpy(), 50, 150) for layer in levels[:, 0]])

    assert torch.equal(edges(levels)[:, 0], torch.from_numpy(expected) / 255)


def test_distances_are_those_of_scipy(generator: torch.Generator) -> None:
    marks = (torch.rand(4, 1, 40, 53, generator=generator) > 0.999).float()
    marks[0], marks[1, 0, 0, 0] = 0, 1
    expected = [
        ndimage.distance_transform_edt(1 - layer) if layer.any() else np.full(layer.shape, 99.0)
        for layer in marks[:, 0].numpy()
    ]

    assert_close(distance_to(marks)[:, 0].double(), torch.from_numpy(np.stack(expected)).clamp(max=20))


def test_even_histograms_are_those_of_opencv(generator: torch.Generator) -> None:
    cv2 = pytest.importorskip("cv2")
    levels = torch.randint(21, (3, 1, 17, 9), generator=generator).square() // 20
    levels[0] = 7
    expected = np.stack([cv2.equalizeHist(layer.byte().numpy()) for layer in levels[:, 0]])

    assert torch.equal(even(levels)[:, 0], torch.from_numpy(expected).long())


def test_relief_has_a_bright_and_a_dark_side() -> None:
    y, x = torch.meshgrid(torch.arange(40) - 20, torch.arange(40) - 20, indexing="ij")
    drop = ((x.square() + y.square()) < 144).float()[None, None]
    shaded = relief(drop)[0, 0]

    assert shaded.amax() == 1
    assert torch.equal(shaded > 0, (shaded > 0) & (drop[0, 0] > 0))
    assert shaded[12:17, 12:17].mean() > 2 * shaded[24:29, 24:29].mean()  # the filter's light comes from one corner
    assert torch.equal(relief(torch.zeros_like(drop)), torch.zeros_like(drop))


def test_water_lightens_and_mud_covers(generator: torch.Generator) -> None:
    seeds = draw_seeds(4, generator=generator)
    images = torch.full((4, 3, 32, 32), 0.1, dtype=torch.float64)
    kinds = torch.tensor([0.0, 1.0, 0.0, 1.0])
    changed = spatter(images, **DROPS, strength=0.6, mud=kinds, seeds=seeds)

    water, mud = changed[0::2] - 0.1, changed[1::2] - 0.1
    assert water.amin() >= 0
    assert_close(water[:, 2], water[:, 1])
    assert_close(water[:, 0] * (238 / 175), water[:, 1])
    assert_close(water.amax((1, 2, 3)), torch.full((2,), 0.6 * 238 / 255, dtype=torch.float64))
    covered = mud[:, 0] != 0
    brown = torch.tensor([63, 42, 20], dtype=torch.float64).view(1, 3, 1, 1) / 255 - 0.1
    share = (mud / brown)[:, 0][covered]
    assert share.amin() >= 0.8 - 1e-6
    assert share.amax() <= 1
    assert_close(mud, (mud[:, :1] / brown[:, :1]) * brown)
    with pytest.raises(ValueError, match=r"mud must be 0 for water or 1 for mud, got 0.5"):
        spatter(images, **DROPS, strength=0.6, mud=0.5, seeds=seeds)


def test_grey_images_get_the_luminance_of_colours(generator: torch.Generator) -> None:
    seeds = draw_seeds(2, generator=generator)
    grey = torch.rand(2, 1, 16, 24, generator=generator, dtype=torch.float64) * 0.3
    for change in (
        lambda x: spatter(x, **DROPS, strength=0.5, mud=torch.tensor([0.0, 1.0]), seeds=seeds),
        lambda x: frost(x, 0.8, 0.4, seeds),
        lambda x: snow(x, **FLAKES, weight=0.8, seeds=seeds),
        lambda x: fog(x, 1.0, 2.0, seeds),
    ):
        assert_close(change(grey), luminance(change(grey.expand(2, 3, 16, 24))))


def test_frost_is_a_weighted_sum(generator: torch.Generator) -> None:
    seeds = draw_seeds(3, generator=generator)
    images = torch.rand(3, 3, 20, 16, generator=generator)
    weights, amounts = torch.tensor([0.5, 0.6, 0.0]), torch.tensor([0.4, 0.0, 1.0])
    texture = frost_texture(seeds, 20, 16)
    expected = weights.view(-1, 1, 1, 1) * images + amounts.view(-1, 1, 1, 1) * texture

    assert_close(frost(images, weights, amounts, seeds), expected)


@pytest.mark.parametrize("size", [(32, 32), (96, 64)])
def test_frost_is_bluish_white_and_grows_from_the_border(generator: torch.Generator, size: tuple[int, int]) -> None:
    texture = frost_texture(draw_seeds(64, generator=generator), *size)
    red, green, blue = texture.mean((0, 2, 3)).tolist()
    height, width = size
    middle = texture[..., height // 3 : -(height // 3), width // 3 : -(width // 3)]

    assert 0 <= texture.amin() < texture.amax() <= 1
    assert red < green < blue
    assert 0.5 < green < 0.7  # the published photographs have 0.6
    assert texture.mean() - middle.mean() > 0.03
    assert texture.mean((1, 2, 3)).std() > 0.005  # no two panes are alike


def folder_of_photographs(folder: Path) -> None:
    for name, colour in (("red.png", (200, 0, 0)), ("blue.jpg", (0, 0, 200))):
        Image.new("RGB", (50, 40), colour).save(folder / name)
    slope = np.arange(60, dtype=np.uint8) + np.zeros((50, 1), dtype=np.uint8)
    Image.fromarray(slope).save(folder / "slope.PNG")
    (folder / "notes.txt").write_text("no photograph")


def test_frost_from_photographs(tmp_path: Path, generator: torch.Generator) -> None:
    folder_of_photographs(tmp_path)
    transform = Frost(0.0, amount=1.0, folder=str(tmp_path), generator=generator)
    shown = transform(torch.zeros(200, 3, 32, 32)) * 255
    slopes = shown[:, 1].std((1, 2)) > 5

    assert transform.settings == {"weight": 0.0, "amount": 1.0, "folder": str(tmp_path), "scale": 1.0}
    assert 40 < int(slopes.sum()) < 95
    assert 40 < int((shown[:, 0].mean((1, 2)) > 150).sum()) < 95
    starts = shown[slopes, 0, 0, 0].round()
    assert_close(shown[slopes, 0, 5], starts[:, None] + torch.arange(32), rtol=0, atol=1e-3)
    assert set(starts.tolist()) <= set(range(29))
    assert len(set(starts.tolist())) > 15

    with pytest.raises(ValueError, match=r"at least as large as the images, 32x32, got 20x25 at 0"):
        Frost(folder=str(tmp_path), scale=0.5)(torch.zeros(4, 3, 32, 32))


def test_frost_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder must be a folder of photographs of frost, got .*nowhere"):
        Frost(folder=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="folder must hold photographs of frost, found none in"):
        Frost(folder=str(tmp_path))
    with pytest.raises(ValueError, match="scale must be finite and above 0, got 0"):
        Frost(scale=0.0)
    with pytest.raises(ValueError, match="photographs must hold at least one"):
        frost(torch.zeros(1, 3, 8, 8), 1.0, 0.2, torch.zeros(1, dtype=torch.int64), [])


def test_settings_out_of_range_are_refused() -> None:
    images, seeds = torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)
    flakes = {**FLAKES, "weight": 0.5}
    for call, message in (
        (lambda: fog(images, -1.0, 2.0, seeds), "amount must be finite and 0 or more"),
        (lambda: fog(images, 1.0, 0.5, seeds), "decay must be finite and 1 or more"),
        (lambda: snow(images, **{**flakes, "zoom": 0.5}, seeds=seeds), "zoom must be finite and 1 or more"),
        (lambda: snow(images, **{**flakes, "weight": 2.0}, seeds=seeds), "weight must be finite and from 0 to 1"),
        (lambda: snow(images, **{**flakes, "sigma": 0.0}, seeds=seeds), "sigma must be finite"),
        (lambda: spatter(images, **{**DROPS, "sigma": -1.0}, strength=0.5, mud=0.0, seeds=seeds), "sigma must be"),
        (lambda: frost(images, float("nan"), 0.5, seeds), "weight must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
