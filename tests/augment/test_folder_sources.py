"""Sources of files: folders of images, portions, patches of bundled photographs, scenes with materials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from augment import (
    ChangedPairs,
    Digits,
    ImageError,
    ImageFolder,
    PairStore,
    Patches,
    Portion,
    SceneMaterials,
    Scenes,
    Source,
    SpatialChange,
    read_image,
    write_pairs,
)
from tests.augment.bad_files import picture


@pytest.fixture(scope="module")
def jpegs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 200 CIFAR-10 training images as files in folders of their classes."""
    sample = root.parent / "shared" / "data" / "cifar10" / "cifar10_jpeg.npz"
    if not sample.is_file():
        pytest.skip(f"needs CIFAR-10's JPEG files in {sample}")
    folder = tmp_path_factory.mktemp("cifar")
    with np.load(sample, allow_pickle=False) as data:
        content, offsets = data["train_jpeg"], data["train_offsets"]
        for number in range(200):
            path = folder / str(data["class_names"][data["train_labels"][number]]) / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content[offsets[number] : offsets[number + 1]].tobytes())
    return folder


def test_class_folders_are_classes_and_splits_share_no_file(jpegs: Path) -> None:
    parts = {split: ImageFolder(split, jpegs) for split in ("train", "validation", "test")}

    found = torch.cat([part.indices for part in parts.values()])
    assert torch.equal(found.sort().values, torch.arange(200))
    train = parts["train"]
    assert isinstance(train, Source)
    assert train.classes == tuple(sorted(path.name for path in jpegs.iterdir()))
    images, labels = train.batch([3, 100])
    assert images.shape == (2, 3, 32, 32)
    for image, label, position in zip(images, labels, (3, 100), strict=True):
        assert_close(image, read_image(jpegs / train.paths[position]).float() / 255)
        assert train.paths[position].parts[0] == train.classes[int(label)]


def test_pairs_of_a_folder_skip_what_cannot_be_read(jpegs: Path, tmp_path: Path) -> None:
    for path in jpegs.rglob("*.jpg"):
        (tmp_path / "copy" / path.name).parent.mkdir(exist_ok=True)
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    train = ImageFolder("train", tmp_path / "copy")
    bad = tmp_path / "copy" / train.paths[5]
    bad.write_bytes(bad.read_bytes()[:400])

    written = write_pairs(tmp_path / "p.h5", ChangedPairs({"train": train}, SpatialChange(), draws=2), batch=16)

    assert written.pairs == 2 * (len(train) - 1)
    assert len(written.skipped) == 1
    assert str(bad) in written.skipped[0]
    assert train.classes == ()
    assert PairStore(written.path).labels.unique().tolist() == [-1]


def test_constructing_a_folder_reads_no_image(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.png").write_text("no image")

    folder = ImageFolder("train", tmp_path, shares={"train": 1.0})

    assert (len(folder), folder.labels.tolist()) == (20, [-1] * 20)
    with pytest.raises(ImageError, match=r"0\.png cannot be read"):
        folder.batch([0])


def test_split_folders_are_splits_and_hold_classes(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "test/dog/3.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        picture().save(tmp_path / name)

    test = ImageFolder("test", tmp_path, size=(16, 16), channels=1)

    assert (test.classes, test.labels.tolist(), test.indices.tolist()) == (("cat", "dog"), [1], [0])
    assert test.batch([0])[0].shape == (1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"split must be one that holds images, got 'validation'.*'test', 'train'"):
        len(ImageFolder("validation", tmp_path, shares={"train": 0.8, "test": 0.2}))


def test_patches_of_two_splits_share_no_pixel() -> None:
    parts = {split: Patches(split) for split in ("train", "validation", "test")}
    taken = []
    for patches in parts.values():
        covered = torch.zeros(2, 427, 640, dtype=torch.bool)
        for photograph, row, column in patches.corners.tolist():
            covered[photograph, row : row + 32, column : column + 32] = True
        taken.append(covered)

    assert not (taken[0] & taken[1] | taken[0] & taken[2] | taken[1] & taken[2]).any()
    assert 0.6 < torch.stack(taken).any(0).float().mean() < 1
    for patches in parts.values():
        assert isinstance(patches, Source)
        assert len(patches.labels.unique()) == 5
        assert len(patches.indices.unique()) == len(patches)
    ChangedPairs(parts, SpatialChange())  # which checks that no index is shared


def test_patches_are_cut_from_the_photographs() -> None:
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

    patches = Patches("test", size=24, stride=5)
    photograph, row, column = patches.corners[700].tolist()
    expected = np.array(load_sample_images().images[photograph][row : row + 24, column : column + 24])

    assert_close(patches.batch([700])[0][0], torch.from_numpy(expected.transpose(2, 0, 1)).float() / 255)
    for given, message in (
        ({"size": 97}, "size must be within"),
        ({"stride": 0}, "stride must"),
        ({"split": "a"}, "one"),
    ):
        with pytest.raises(ValueError, match=message):
            Patches(**given)  # type: ignore[arg-type]


def test_a_portion_is_a_run_of_its_source() -> None:
    digits = Digits("test")
    portion = Portion(digits, 100, 250)

    assert isinstance(portion, Source)
    assert (len(portion), portion.name, portion.classes) == (150, "digits", digits.classes)
    assert_close(portion.batch([0, 149])[0], digits.batch([100, 249])[0])
    assert torch.equal(portion.indices, digits.indices[100:250])
    with pytest.raises(IndexError, match="positions must be from 0 to 149"):
        portion.batch([150])
    with pytest.raises(ValueError, match="must leave some of the 300 images"):
        Portion(digits, 300)


def test_materials_come_with_every_light_of_a_scene(root: Path, tmp_path: Path) -> None:
    sample = root.parent / "shared" / "data" / "multi_illumination" / "everett_kitchen2_mip6.npz"
    if not sample.is_file():
        pytest.skip(f"needs the sample in {sample}")
    with np.load(sample) as data:
        images, materials = data["images"], data["materials"]
    (tmp_path / "train" / "kitchen").mkdir(parents=True)
    for light, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "train" / "kitchen" / f"dir_{light}_mip6.png")
    palette = Image.fromarray(materials)
    palette.putpalette([value for number in range(256) for value in (number, 0, 255 - number)])
    palette.save(tmp_path / "train" / "kitchen" / "materials_mip2.png")

    train = SceneMaterials("train", tmp_path, size=(62, 93), materials=31)
    found, labels = train.batch([0, 24])

    assert isinstance(train, Source)
    assert len(train) == 25
    assert_close(found[1], torch.from_numpy(images[24]).permute(2, 0, 1).float() / 255)
    assert torch.equal(labels[0], labels[1])
    assert set(labels.unique().tolist()) <= set(np.unique(materials).tolist()) - {32} | {255}
    assert (labels == 255).any()  # material 32 of 31
    shares = torch.tensor([(labels[0] == number).float().mean() for number in range(31)])
    expected = torch.tensor([float((materials == number).mean()) for number in range(31)])
    assert_close(shares, expected, rtol=0, atol=0.01)  # a sixteenth of the pixels, by nearest neighbour
    assert [scene.split for scene in Scenes(tmp_path).scenes] == ["train"]
    with pytest.raises(ValueError, match="split must be one that holds scenes"):
        len(SceneMaterials("test", tmp_path))
    (tmp_path / "train" / "kitchen" / "materials_mip2.png").unlink()
    with pytest.raises(ValueError, match=r"kitchen must hold a label map materials\.png"):
        len(SceneMaterials("train", tmp_path))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_replaced_file_starts_an_interrupted_writing_anew(tmp_path: Path, wrapped: bool) -> None:
    for number in range(12):
        path = tmp_path / "images" / "test" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(16, 16, seed=number).save(path)

    def pairs() -> ChangedPairs:
        source: Source = ImageFolder("test", tmp_path / "images", size=(16, 16))
        return ChangedPairs({"test": Portion(source) if wrapped else source}, SpatialChange())

    def interrupted(done: int, total: int) -> None:
        if done == total - 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(tmp_path / "p.h5", pairs(), batch=4, progress=interrupted)
    assert (tmp_path / "p.h5.partial").is_dir()
    picture(16, 16, seed=50).save(tmp_path / "images" / "test" / "01.png")  # one that was written already

    store = PairStore(write_pairs(tmp_path / "p.h5", pairs()).path)

    assert_close(store[1].clean, read_image(tmp_path / "images" / "test" / "01.png"))
