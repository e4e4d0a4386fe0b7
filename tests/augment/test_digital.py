from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

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
def test_pixelate_is_the_published_programs_but_for_its_second_rounding(published: Published, severity: int) -> None:
    setting, theirs = SETTINGS["cifar-c"]["pixelate"][severity - 1], published.changed[f"pixelate_{severity}"]
    change = (theirs - published.images).abs().mean()

    apart = (pixelate(published.images.byte(), **setting) - theirs).abs()

    # Theirs rounds to 8 bits after the rows as well as after the columns; ours rounds once, so a tie falls otherwise.
    assert apart.max() <= 1
    assert apart.mean() <= 0.05 * change
    assert apart.mean() <= (0.25 if severity < 5 else 0.31)
    # With their rounding between, nothing is left: pixelating rows alone is pixelating an image of equal columns.
    rows = _along_rows(published.images, setting["size"])
    both = _along_rows(rows.mT, setting["size"]).mT
    assert_close(both, theirs, atol=0, rtol=0)


def _along_rows(levels: torch.Tensor, size: float) -> torch.Tensor:
    """Rounded to levels, halves up."""
    lines = levels.flatten(0, 2)[:, None, None].expand(-1, 1, 8, -1) / 255
    return (pixelate(lines, size)[:, 0, 0].reshape(levels.shape) * 255 + 0.5 + 1e-9).floor()


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
