from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.testing import assert_close
from torchvision import tv_tensors

from augment import Corruption, ElasticTransform, RandomCorruption
from augment.corruptions import at_severity
from augment.functional import draw_seeds, elastic_move, elastic_transform
from augment.functional.counter import uniform
from augment.functional.filters import smooth


@pytest.mark.parametrize("border", ["edge", "symmetric"])
def test_smoothing_is_that_of_scipy(generator: torch.Generator, border: Any) -> None:
    layers = torch.randn(3, 2, 9, 13, generator=generator, dtype=torch.float64)
    # The last Gaussian is wider than the layer.
    sigma = torch.tensor([0.0, 0.7, 6.4], dtype=torch.float64).view(-1, 1, 1, 1)
    mode = {"edge": "nearest", "symmetric": "reflect"}[border]
    expected = [
        ndimage.gaussian_filter(layer, width, mode=mode, truncate=3.0, axes=(1, 2)) if width else layer
        for layer, width in zip(layers.numpy(), sigma.flatten().tolist(), strict=True)
    ]

    assert_close(smooth(layers, sigma, truncate=3.0, border=border), torch.from_numpy(np.stack(expected)))


def through_scipy(images: Tensor, displacement: float, sigma: float, tilt: float, seeds: Tensor) -> Tensor:
    """The definition in two readings by scipy, with the map solved for rather than written out."""
    height, width = images.shape[2:]
    side = min(height, width) // 3
    centre = np.array([width // 2, height // 2], dtype=float)
    before = centre + side * np.array([[1, 1], [1, -1], [-1, -1]], dtype=float)
    points = 2 * uniform(seeds, 6, "elastic_transform: points").double().numpy().reshape(-1, 3, 2) - 1
    noise = 2 * uniform(seeds, 2 * height * width, "elastic_transform: pixels").double().numpy() - 1
    y, x = np.mgrid[:height, :width].astype(float)
    changed = np.empty(images.shape)
    for i, image in enumerate(images.numpy()):
        after = np.column_stack([before + tilt * points[i], np.ones(3)])
        back = np.linalg.solve(after, before)  # rows: factors of x and y, and the shift
        source_x, source_y = np.moveaxis(np.stack([x, y, np.ones_like(x)], -1) @ back, -1, 0)
        dx, dy = (
            displacement * ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3.0)
            for field in noise[i].reshape(2, height, width)
        )
        for channel, plane in enumerate(image):
            tilted = ndimage.map_coordinates(plane, [source_y, source_x], order=1, mode="mirror")
            changed[i, channel] = ndimage.map_coordinates(tilted, [y + dy, x + dx], order=1, mode="reflect")
    return torch.from_numpy(changed)


@pytest.mark.parametrize("size", [(32, 32), (20, 33)])
@pytest.mark.parametrize("settings", [(0.0, 1.0, 2.5), (5.0, 1.0, 0.0), (4.0, 1.3, 2.0)])
def test_elastic_transform_is_that_of_scipy(
    generator: torch.Generator, size: tuple[int, int], settings: tuple[float, float, float]
) -> None:
    images = torch.rand(4, 3, *size, generator=generator, dtype=torch.float64)
    seeds = draw_seeds(4, generator=generator)

    # The noise is float32; a pixel of the map may differ by its rounding.
    assert_close(
        elastic_transform(images, *settings, seeds), through_scipy(images, *settings, seeds), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_elastic_transform_is_as_strong_as_published(published: Any, severity: int) -> None:
    name = f"elastic_transform_{severity}"
    ratio, shift = published.against_statistics(at_severity("elastic_transform", severity), name)

    assert ratio == pytest.approx(1, abs=0.03)
    assert shift == pytest.approx(0, abs=0.005)


def test_nothing_moves_by_nothing(generator: torch.Generator) -> None:
    images = torch.rand(2, 1, 8, 11, generator=generator)
    seeds = draw_seeds(2, generator=generator)

    assert_close(elastic_transform(images, 0.0, 0.0, 0.0, seeds), images, rtol=0, atol=1e-5)
    labels = torch.arange(2 * 8 * 11).view(2, 1, 8, 11)
    assert torch.equal(elastic_move(labels, 0.0, 0.0, 0.0, seeds), labels)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_masks_move_with_their_images(generator: torch.Generator, severity: int) -> None:
    # A slope tells where each pixel was read, to within the half pixel that a label is off along x.
    slope = (torch.arange(40) / 39).expand(6, 1, 32, 40).contiguous()
    labels = torch.arange(40).expand(6, 1, 32, 40)
    transform = at_severity("elastic_transform", severity, generator=generator)
    changed, mask = transform((slope, tv_tensors.Mask(labels)))

    assert isinstance(mask, tv_tensors.Mask)
    assert mask.dtype == torch.int64
    apart = (mask - changed * 39).abs()
    inside = (changed * 39 > 3) & (changed * 39 < 36)  # at a mirror, the mean of two slopes is on neither
    assert apart[inside].max() < 1.02
    assert apart[inside].mean() < 0.3


def test_masks_may_come_in_any_layout(generator: torch.Generator) -> None:
    images, masks = torch.rand(3, 3, 16, 16, generator=generator), torch.arange(3 * 2 * 256).view(3, 2, 16, 16)
    transform = ElasticTransform()
    rows = transform.draw(3, generator=generator)
    moved = transform.replay((images, tv_tensors.Mask(masks)), rows)[1]

    assert torch.equal(transform.replay((images, tv_tensors.Mask(masks[:, 0])), rows)[1], moved[:, 0])
    one = transform.replay((images[1], tv_tensors.Mask(masks[1])), rows[1:2])[1]
    assert torch.equal(one, moved[1])
    assert torch.equal(transform.replay((images[1], tv_tensors.Mask(masks[1, 1])), rows[1:2])[1], moved[1, 1])
    with pytest.raises(ValueError, match=r"mask must be \[3, ..., H, W\] for 3 images, got \[16, 16\]"):
        transform.replay((images, tv_tensors.Mask(masks[0, 0])), rows)


def test_boxes_are_refused_with_a_way_out(generator: torch.Generator) -> None:
    image = torch.rand(3, 16, 16)
    boxes = tv_tensors.BoundingBoxes([[1, 1, 5, 5]], format="XYXY", canvas_size=(16, 16))
    for transform in (
        ElasticTransform(),
        Corruption("elastic_transform"),
        RandomCorruption(["elastic_transform", "fog"]),
    ):
        with pytest.raises(ValueError, match=r"BoundingBoxes, which cannot follow an elastic change.*masks_to_boxes"):
            transform((image, boxes))


def test_named_corruptions_move_masks_too(generator: torch.Generator) -> None:
    images = torch.rand(8, 3, 16, 16, generator=generator)
    masks = tv_tensors.Mask(torch.arange(256).view(1, 16, 16).repeat(8, 1, 1))
    named = Corruption("elastic_transform", 4, generator=generator, return_parameters=True)
    (_, moved), rows = named((images, masks))
    assert torch.equal(moved, ElasticTransform(**named.corruption.settings).replay((images, masks), rows)[1])

    mixed = RandomCorruption(["elastic_transform", "contrast"], generator=generator)
    _, moved = mixed((images, masks))
    elastic = mixed.condition(mixed.parameters) == 0
    assert 0 < int(elastic.sum()) < 8
    still = (moved == masks).flatten(1).all(1)
    assert torch.equal(still, ~elastic)


def test_points_in_a_line_give_numbers(generator: torch.Generator) -> None:
    images = torch.rand(64, 1, 8, 8, generator=generator)

    assert elastic_transform(images, 30.0, 1.0, 30.0, draw_seeds(64, generator=generator)).isfinite().all()


def test_elastic_transform_is_linear_in_the_image(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 12, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    seeds = draw_seeds(2, generator=generator)
    changed = elastic_transform(images, 4.0, 1.0, 1.0, seeds)
    (gradient,) = torch.autograd.grad(changed.sum(), images)

    assert_close((gradient * images).sum(), changed.sum())
