"""Advice in the messages of image transforms, followed to the letter; and the kinds of images that they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import torchvision.transforms.v2.functional as F
from PIL import Image, ImageCms
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision import tv_tensors

import augment
from augment import Contrast, Corruption, ImageTransform, Mixture, Perturb, RandomCorruption, SpatialChange, read_image
from augment import functional as changes
from tests.augment.bad_files import picture, write_alpha, write_deep_colour
from tests.augment.test_perturb import Darker

SAME = Contrast(1.0)
"""A transform that changes nothing, so that what comes out must be what went in."""

PIXELS = np.array(picture())


def follow(call: Callable[[], object], **names: Any) -> Any:
    """What the first code in a refusal's message makes of the names."""
    with pytest.raises(ValueError, match="`") as refusal:
        call()
    (code, *_) = re.findall("`(.+?)`", str(refusal.value))
    tools = {"torch": torch, "torchvision": torchvision, "numpy": np, "Image": Image, "ImageCms": ImageCms}
    return eval(code, {**tools, "augment": augment, "tv_tensors": tv_tensors, **names})


def as_floats(image: Any) -> Tensor:
    """An image of any kind on the range from 0 to 1, with channels first."""
    if isinstance(image, Tensor):
        return image if image.is_floating_point() else image.float() / 255
    pixels = torch.tensor(np.array(image), dtype=torch.float32) / 255
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, -3)


def taken_and_same(image: Any, expected: Any, atol: float = 0.51 / 255) -> None:
    assert_close(as_floats(SAME(image)).float(), as_floats(expected), atol=atol, rtol=0)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "LA", "La", "1"])
def test_pil_images_of_other_modes(mode: str) -> None:
    start = Image.fromarray(PIXELS)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(start, *profiles, outputMode="LAB")
        assert image is not None
    elif mode in ("P", "PA"):
        image = start.convert("P", palette=Image.Palette.ADAPTIVE).convert(mode)
    else:
        image = start.convert({"RGBa": "RGBA", "La": "LA"}.get(mode, mode)).convert(mode)
    grey = mode in ("LA", "La", "1")

    given = follow(lambda: SAME(image), image=image)

    expected = start.convert("1" if mode == "1" else "L").convert("L") if grey else start
    taken_and_same(given.convert("L") if grey else given, expected, atol=8 / 255)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_deep_pil_images_keep_their_greys(mode: str) -> None:
    ramp = np.arange(0, 65536, 1024).reshape(8, 8)
    if mode == "F":
        image = Image.fromarray((ramp / 65535).astype(np.float32))
    else:
        image = Image.fromarray(ramp.astype(np.int32)) if mode == "I" else Image.new(mode, (8, 8))
        for place, value in np.ndenumerate(ramp) if mode != "I" else ():
            image.putpixel(place[::-1], int(value))
    assert image.mode == mode

    given = follow(lambda: SAME(image), image=image, white=65535)

    assert_close(SAME(given), torch.from_numpy(ramp / 65535).float()[None], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PIXELS / np.float32(255), PIXELS),
        (PIXELS[..., 0] / np.float64(255), PIXELS[..., 0]),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.transpose(2, 0, 1), PIXELS),
        (np.concatenate([PIXELS, PIXELS[..., :1]], 2), PIXELS),
        (PIXELS.transpose(2, 0, 1)[None], PIXELS[None]),
        (PIXELS.repeat(2, 1).transpose(1, 0, 2)[..., 0][:, None].repeat(8, 1)[:, :, :12], None),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, expected: np.ndarray | None) -> None:
    given = follow(lambda: SAME(array), array=array, white=255)

    taken_and_same(given, array[..., None] if expected is None else expected)


@pytest.mark.parametrize("path", [Path("picture.png"), "picture.png"])
def test_paths(tmp_path: Path, path: Path | str) -> None:
    place = str(tmp_path / path) if isinstance(path, str) else tmp_path / path
    picture().save(place)

    for sample in (place, [place], {"image": place, "label": 3}):
        taken_and_same(follow(lambda sample=sample: SAME(sample), path=place), PIXELS)


def test_a_grey_tensor_without_channels() -> None:
    image = torch.rand(8, 8)

    assert_close(SAME(follow(lambda: SAME(image), image=image)), image[None])


def test_a_label_before_its_image() -> None:
    label, image = torch.tensor(3), torch.rand(1, 8, 8)

    given = follow(lambda: SAME((label, image)), image=image)

    assert SAME((label, given))[0] is label


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_several_plain_images(kind: Callable[[np.ndarray], Any]) -> None:
    images = [kind(PIXELS if kind is np.asarray else PIXELS.transpose(2, 0, 1).copy()) for _ in range(3)]
    noise = Corruption("gaussian_noise", 5)

    with pytest.raises(ValueError, match="only the first would be changed"):
        noise(images)

    changed = noise(torch.stack(images) if isinstance(images[0], Tensor) else np.stack(images))
    assert all((one != other).any() for one, other in zip(changed, images, strict=True))


@pytest.mark.parametrize(("dtype", "white"), [(torch.int64, 255), (torch.uint16, 65535), (torch.int32, 65535)])
def test_tensors_of_whole_numbers(dtype: torch.dtype, white: int) -> None:
    levels = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    images = (levels * white).round().to(torch.int64).to(dtype)

    for call in (lambda: SAME(images), lambda: changes.contrast(images, 1.0)):
        given = follow(call, images=images, white=white)
        assert_close(changes.contrast(given, 1.0), levels, atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8)])
def test_functions_of_a_batch_given_one_image(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)

    given = follow(lambda: changes.contrast(image, 1.0), image=image)

    assert_close(changes.contrast(given, 1.0)[0], image)


@pytest.mark.parametrize("function", [changes.contrast, changes.gaussian_blur])
def test_small_images(function: Callable[[Tensor, float], Tensor]) -> None:
    images = torch.full((2, 3, 5, 9), 0.5)

    assert_close(function(follow(lambda: function(images, 1.0), images=images), 1.0), torch.full((2, 3, 8, 8), 0.5))


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_what_needs_colours_says_which_channels_to_give(channels: int) -> None:
    images, seeds = torch.rand(2, channels, 8, 8), torch.arange(2)
    calls: list[Callable[[Tensor], Tensor]] = [
        lambda images: changes.brightness(images, 0.1),
        lambda images: changes.saturate(images, 2.0, 0.0),
        lambda images: changes.jpeg_compression(images, 50),
        lambda images: changes.frost(images, 1.0, 0.4, seeds),
        lambda images: changes.snow(images, 0.1, 0.3, 1.5, 0.5, 3, 1.0, 0.9, 10.0, seeds),
        lambda images: changes.spatter(images, 0.6, 0.3, 1.0, 0.6, 0.5, 0.0, seeds),
    ]
    for call in calls:
        given = follow(lambda call=call: call(images), images=images)
        assert_close(given, images[:, : 3 if channels > 3 else 1])
        assert call(given).shape == given.shape


@pytest.mark.parametrize(
    "call",
    [
        lambda images, seeds: changes.gaussian_noise(images, 0.1, seeds),
        lambda images, seeds: changes.shot_noise(images, 20.0, seeds),
        lambda images, seeds: changes.speckle_noise(images, 0.1, seeds),
        lambda images, seeds: changes.impulse_noise(images, 0.1, seeds),
        lambda images, seeds: changes.fog(images, 1.0, 2.0, seeds),
        lambda images, seeds: changes.glass_blur(images, 0.5, 1, 1, seeds),
        lambda images, seeds: changes.elastic_transform(images, 2.0, 2.0, 1.0, seeds),
        lambda images, seeds: changes.gaussian_blur(images, 1.0),
        lambda images, seeds: changes.defocus_blur(images, 2.0, 0.5),
        lambda images, seeds: changes.motion_blur(images, 3, 1.0, 30.0),
        lambda images, seeds: changes.zoom_blur(images, 1.1, 0.05),
        lambda images, seeds: changes.pixelate(images, 0.5),
        lambda images, seeds: changes.contrast(images, 0.5),
    ],
)
def test_what_needs_no_colours_takes_any_channels(call: Callable[[Tensor, Tensor], Tensor]) -> None:
    images, seeds = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0)), torch.arange(2)

    assert call(images[:, [0, 1, 2, 0, 1]], seeds).shape == (2, 5, 12, 16)
    three = call(images, seeds)
    if call(images[:, :1], seeds).equal(three[:, :1]):  # no noise of its own for each channel
        assert_close(call(images[:, :2], seeds), three[:, :2])


def test_files_with_more_than_8_bits_or_transparency(tmp_path: Path) -> None:
    deep, other = tmp_path / "deep.png", tmp_path / "other.png"
    grey = np.array(picture().convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep)
    follow(lambda: read_image(deep), image=Image.open(deep), white=65535).save(other)
    assert_close(read_image(other, channels=1)[0], torch.from_numpy(grey))

    write_deep_colour(deep := tmp_path / "deep.ppm")
    follow(lambda: read_image(deep), path=deep, other_path=other)
    assert_close(read_image(other), torch.from_numpy(PIXELS).movedim(2, 0))

    write_alpha(clear := tmp_path / "clear.png", 128)
    follow(lambda: read_image(clear), image=Image.open(clear)).save(other)
    assert_close(
        read_image(other).float(), (torch.from_numpy(PIXELS).movedim(2, 0).float() + 255) / 2, atol=1.01, rtol=0
    )


TRANSFORMS: dict[str, Callable[[], ImageTransform]] = {
    "corruption": lambda: Corruption("fog", 5),
    "random": lambda: RandomCorruption(["fog", "contrast"]),
    "spatial": lambda: SpatialChange(scale=(0.6, 1.0)),
    "mixture": lambda: Mixture([Corruption("fog", 5), Corruption("contrast", 5)]),
    "set": lambda: Perturb(Darker(nn.Identity()), moves_pixels=False),
}
every = pytest.mark.parametrize("name", list(TRANSFORMS))


@every
@pytest.mark.parametrize(
    "array",
    [PIXELS, PIXELS[..., 0], PIXELS[..., :1], PIXELS[None].repeat(3, 0), PIXELS[:, ::-1]],
    ids=lambda a: a.shape,
)
def test_arrays_are_changed_as_their_tensors_are(name: str, array: np.ndarray) -> None:
    transform, before = TRANSFORMS[name](), array.copy()

    changed = transform(array)

    tensor = torch.tensor((array[..., None] if array.ndim == 2 else array).copy()).movedim(-1, -3)
    expected = transform.replay(tensor, transform.parameters)
    assert isinstance(changed, np.ndarray)
    assert (changed.dtype, changed.shape) == (np.uint8, array.shape)
    assert (changed != array).any()
    assert (array == before).all()
    assert_close(torch.tensor(changed).view(expected.movedim(-3, -1).shape), expected.movedim(-3, -1), atol=0, rtol=0)
    assert (transform.replay(array, transform.parameters) == changed).all()


@every
def test_arrays_in_samples(name: str) -> None:
    transform = TRANSFORMS[name]()

    changed = transform({"image": PIXELS, "label": 3, "states": np.array([0, 1]), "other": torch.tensor([1, 2])})

    assert (changed["image"] != PIXELS).any()
    assert (changed["label"], changed["states"].tolist(), changed["other"].tolist()) == (3, [0, 1], [1, 2])
    mask = np.zeros(PIXELS.shape[:2], np.uint8)
    image, kept = transform((F.pil_to_tensor(picture()), mask))
    assert kept is mask
    assert isinstance(image, Tensor)


@every
@pytest.mark.parametrize("sample", [None, [], {}, 3, "picture.png", b"", [1.0, 2.0], np.array([1, 2]), {"image": None}])
def test_samples_without_an_image_are_refused(name: str, sample: Any) -> None:
    with pytest.raises(ValueError, match="sample must hold an image"):
        TRANSFORMS[name]()(sample)


@every
def test_every_pil_image_of_a_list_is_changed(name: str) -> None:
    changed = TRANSFORMS[name]()([picture(), picture()])

    assert all((np.array(image) != PIXELS).any() for image in changed)
