from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from augment import Corruption
from augment.corruptions import SETTINGS
from augment.functional import jpeg_compression, pixelate

if TYPE_CHECKING:
    from tests.augment.conftest import Published

SEVERITIES = [1, 2, 3, 4, 5]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_is_exactly_the_published_programs(published: Published, severity: int) -> None:
    changed = jpeg_compression(published.images.byte(), **SETTINGS["cifar-c"]["jpeg_compression"][severity - 1])

    assert torch.equal(changed, published.changed[f"jpeg_compression_{severity}"].byte())


def test_jpeg_takes_a_quality_per_image_and_grey_images_as_grey() -> None:
    images = torch.randint(256, (3, 1, 9, 31), dtype=torch.uint8)
    qualities = [1, 40, 95]

    changed = jpeg_compression(images, torch.tensor([float(quality) for quality in qualities]))

    for image, ours, quality in zip(images, changed, qualities, strict=True):
        file = io.BytesIO()
        Image.fromarray(image[0].numpy(), mode="L").save(file, "JPEG", quality=quality)
        assert np.array_equal(ours[0].numpy(), np.asarray(Image.open(file)))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_is_exactly_the_published_programs(published: Published, severity: int) -> None:
    images, theirs = published.images.byte(), published.changed[f"pixelate_{severity}"].byte()

    assert torch.equal(pixelate(images, **SETTINGS["cifar-c"]["pixelate"][severity - 1]), theirs)
    assert torch.equal(Corruption("pixelate", severity)(images), theirs)
    assert_close(Corruption("pixelate", severity)(images / 255), theirs / 255)


@pytest.mark.parametrize("constants", ["cifar-c", "imagenet-c"])
@pytest.mark.parametrize("shape", [(8, 8), (16, 32), (96, 64), (160, 224), (224, 224), (33, 47), (28, 28)])
def test_pixelate_of_bytes_is_pillows_box_resize(shape: tuple[int, int], constants: str) -> None:
    images = torch.randint(256, (2, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    for setting in [*SETTINGS[constants]["pixelate"], {"size": 0.0}, {"size": 0.1}, {"size": 1.0}]:
        small = [max(1, int(length * setting["size"])) for length in shape]
        for image, ours in zip(images, pixelate(images, **setting), strict=True):
            resized = Image.fromarray(image.movedim(0, 2).numpy()).resize(small[::-1], Image.Resampling.BOX)
            theirs = np.asarray(resized.resize(shape[::-1], Image.Resampling.BOX))
            assert np.array_equal(ours.movedim(0, 2).numpy(), theirs)


def test_pixelate_rounds_each_image_of_a_batch_as_it_does_alone() -> None:
    rough = torch.randint(1, 255, (1, 3, 32, 32)) / 255
    images = torch.cat([rough, torch.rand(1, 3, 32, 32)]).requires_grad_()

    changed = pixelate(images, torch.tensor([0.7, 0.7]))

    assert_close(changed, torch.cat([pixelate(image[None], 0.7) for image in images]), atol=1e-6, rtol=0)
    assert_close((changed[0] * 255).round() / 255, changed[0])
    slope, other = torch.autograd.grad(changed.sum(), images)[0]
    assert_close(slope, other)  # what is rounded has the gradient of what is not


@pytest.mark.parametrize("shape", [(8, 8), (16, 32), (96, 64)])  # no centre on a box's rim
@pytest.mark.parametrize("size", [0.0, 0.25, 0.3, 0.5, 0.65, 0.95, 1.0])
def test_pixelate_is_pillows_box_resize(shape: tuple[int, int], size: float) -> None:
    image = torch.rand(shape)
    small = [max(1, int(length * size)) for length in shape]

    ours = pixelate(image[None, None], size)[0, 0]

    resized = Image.fromarray(image.numpy()).resize(small[::-1], Image.Resampling.BOX)
    theirs = np.asarray(resized.resize(shape[::-1], Image.Resampling.BOX))
    assert_close(ours, torch.from_numpy(theirs.copy()), atol=1e-6, rtol=0)


def test_pixelate_has_gradients() -> None:
    images = torch.rand(2, 1, 8, 9, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x: pixelate(x * 0.8 + 0.1, torch.tensor([0.4, 0.7])), (images,))


@pytest.mark.parametrize("quality", [0, 96, float("nan")])
def test_bad_qualities_are_refused(quality: float) -> None:
    with pytest.raises(ValueError, match="quality must be finite and from 1 to 95"):
        jpeg_compression(torch.rand(1, 3, 8, 8), quality)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="size must be finite and from 0 to 1, got"):
        pixelate(torch.rand(1, 3, 8, 8), 1.1)
