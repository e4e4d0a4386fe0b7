from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from augment import ImageError, read_image
from augment.images import ImageReader, image_size, list_images, read_labels
from tests.augment import bad_files as files


@pytest.mark.parametrize("name", files.GOOD)
def test_every_good_kind_shows_the_same_picture(name: str, tmp_path: Path) -> None:
    files.GOOD[name](tmp_path / name)
    expected = torch.from_numpy(np.array(files.picture())).permute(2, 0, 1)

    image = read_image(tmp_path / name)

    assert image.shape == expected.shape
    assert image.dtype == torch.uint8
    assert image_size(tmp_path / name) == (24, 32)
    grey = torch.from_numpy(np.array(files.picture().convert("L")))
    if name == "grey.png":
        expected = grey.expand(3, -1, -1)
    if name == "one_bit.png":
        expected = (grey >= 128).expand(3, -1, -1) * 255
    off = (image.float() - expected.float()).abs()
    assert off.mean() <= (3 if name.endswith(".jpg") or name == "palette.png" else 0)
    once = read_image(tmp_path / name, channels=1)
    assert once.shape == (1, 24, 32)
    if name == "plain.png":
        assert_close(once[0], grey)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_camera_makes_no_difference(orientation: int, tmp_path: Path) -> None:
    files.write_rotated(tmp_path / "turned.jpg", orientation)

    image = read_image(tmp_path / "turned.jpg").float()

    assert image_size(tmp_path / "turned.jpg") == (24, 32)
    assert (image - torch.from_numpy(np.array(files.picture())).permute(2, 0, 1)).abs().mean() < 3


@pytest.mark.parametrize("name", files.BAD)
def test_every_bad_kind_is_refused_by_name(name: str, tmp_path: Path) -> None:
    write, reason = files.BAD[name]
    write(tmp_path / name)

    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"none\.png is missing"):
            read(tmp_path / "none.png")


def test_a_size_keeps_the_middle_of_the_longer_side(tmp_path: Path) -> None:
    columns = np.repeat(np.arange(0, 96, dtype=np.uint8)[None], 48, 0)
    Image.fromarray(columns).save(tmp_path / "ramp.png")

    image = read_image(tmp_path / "ramp.png", channels=1, size=(24, 24))[0].float()

    # Half size: each column is the mean of two of the middle 48, weighted by a triangle that reaches two to each side.
    assert image.shape == (24, 24)
    assert_close(image[12, 2:-2], 24.5 + 2 * torch.arange(2, 22), rtol=0, atol=0.51)


def test_label_maps_keep_their_numbers(tmp_path: Path) -> None:
    numbers = np.kron(np.array([[3, 255], [17, 0]], np.uint8), np.ones((20, 30), np.uint8))
    Image.fromarray(numbers).save(tmp_path / "grey.png")
    palette = Image.fromarray(numbers)
    palette.putpalette([9] * 768)
    palette.save(tmp_path / "palette.png")
    files.picture().save(tmp_path / "colour.png")

    for name in ("grey.png", "palette.png"):
        labels = read_labels(tmp_path / name, (8, 12))
        assert_close(labels, torch.tensor([[3, 255], [17, 0]], dtype=torch.uint8).kron(torch.ones(4, 6).byte()))
    with pytest.raises(ImageError, match="mode RGB: a label map is grey"):
        read_labels(tmp_path / "colour.png", (8, 12))


def test_folders_are_listed_without_what_is_hidden_or_no_image(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/10.jpg", "a.gif", ".hidden.png", ".cache/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert [path.as_posix() for path in list_images(tmp_path)] == ["a.gif", "b/10.jpg", "b/2.PNG"]
    with pytest.raises(ValueError, match="root must be a folder of images"):
        list_images(tmp_path / "none")


def test_bad_sizes_and_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="channels must be 1"):
        ImageReader([], 4, (8, 8))
    with pytest.raises(ValueError, match=r"size must be .* at least 8"):
        ImageReader([], 3, (8, 7))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="no image could be read among 1 files"):
        ImageReader([tmp_path / "text.png"], 3, None)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_a_fault_of_the_machine_is_none_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files.picture().save(tmp_path / "good.png")

    def failing(*_: object) -> Image.Image:
        raise OSError(number, "for now")

    for read in (read_image, image_size):
        with monkeypatch.context() as patch:
            patch.setattr(Image, "open", failing)
            with pytest.raises(OSError, match=r"good\.png") as caught:
                read(tmp_path / "good.png")
        assert caught.value.errno == number
        read(tmp_path / "good.png")
    with pytest.raises(ImageError, match="is missing"):
        read_image(tmp_path / "none.png")


def test_a_damaged_file_may_ask_for_impossible_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(path: Path) -> Image.Image:
        with path.open("rb") as stream:
            stream.seek(-1)
        raise AssertionError("unreachable")

    files.picture().save(tmp_path / "bad.png")
    monkeypatch.setattr(Image, "open", damaged)
    with pytest.raises(ImageError, match="cannot be read as an image"):
        read_image(tmp_path / "bad.png")
