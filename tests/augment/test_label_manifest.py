"""Lists of labelled images: what is read, what is left out, and what is refused by line and column."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from augment import ChangedPairs, ImageError, LabelManifest, MultiLabelSource, SpatialChange, read_image
from augment.splits import drawn_split
from tests.augment.bad_files import picture
from tests.augment.faces import UNITS, write_faces

ALL = {"train": 1.0}
UNKNOWN = math.nan


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"), persons=12, each=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, 0.png to 5.png."""
    for number in range(6):
        picture(seed=number).save(tmp_path / f"{number}.png")
    return tmp_path


def listed(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a list in the kind that its name says; in CSV what is None is an empty cell."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return path
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_list_says_classes_and_states(folder: Path, suffix: str) -> None:
    rows = [
        {"image": "0.png", "class": "sad", "AU1": 1, "AU12": None, "AU4": 0.0},
        {"image": "1.png", "class": None, "AU1": 0, "AU12": 1, "AU4": 1},
        {"image": "2.png", "class": "glad", "AU1": "1.0", "AU12": "nan", "AU4": ""},
        {"image": "3.png", "class": "glad", "AU1": 0, "AU12": 0, "AU4": " 0 "},
    ]
    source = LabelManifest(listed(folder / f"list.{suffix}", rows), shares=ALL, size=(16, 20), channels=3)

    assert isinstance(source, MultiLabelSource)
    assert (len(source), source.classes, source.label_names) == (3, ("glad", "sad"), ("AU1", "AU12", "AU4"))
    images, classes = source.batch([2, 0])
    assert classes.tolist() == [0, 1]
    assert_close(images[0], read_image(folder / "3.png", size=(16, 20)).float() / 255)
    expected = torch.tensor([[1, UNKNOWN, 0], [1, UNKNOWN, UNKNOWN], [0, 0, 0]])
    assert_close(source.states(range(3)), expected, equal_nan=True)
    assert source.indices.tolist() == [0, 2, 3]
    assert source.group_names == ("0.png", "2.png", "3.png")
    assert source.groups.tolist() == source.indices.tolist()
    assert_close(source[1][0], source.batch([1])[0][0])
    assert source.batch([])[0].shape == (0, 3, 16, 20)
    assert source.states([]).shape == (0, 3)

    every = LabelManifest(source.path, shares=ALL, classed=False, labels=["AU4", "AU1"], drop_unlabelled=True)
    assert every.batch(range(4))[1].tolist() == [1, -1, 0, 0]
    assert_close(
        every.states(range(4)), torch.tensor([[0.0, 1], [1, 0], [UNKNOWN, 1], [0, 0]]), equal_nan=True
    )  # in the order asked for


def test_intensities_are_on_from_the_threshold_on(folder: Path) -> None:
    rows = [{"image": f"{level}.png", "AU6": level, "frame": 17 * level} for level in range(6)]
    path = listed(folder / "list.csv", [*rows[:5], {**rows[5], "AU6": ""}])
    arguments: dict[str, Any] = {"labels": ["AU6"], "shares": ALL, "classed": False, "drop_unlabelled": True}

    for threshold, on in ((2.0, [0, 0, 1, 1, 1]), (0.5, [0, 1, 1, 1, 1]), (5.0, [0, 0, 0, 0, 0])):
        states = LabelManifest(path, threshold=threshold, **arguments).states(range(5))
        assert states[:, 0].tolist() == on
    with pytest.raises(ValueError, match=r"list\.csv, line 4: AU6 must be 0, 1 or empty, got '2': give a threshold"):
        len(LabelManifest(path, **arguments))
    with pytest.raises(ValueError, match=r"line 6: AU6 must be an intensity from 0 to 3 or empty, got '4': leave"):
        len(LabelManifest(path, threshold=2.0, highest=3.0, **arguments))
    with pytest.raises(ValueError, match=r"line 3: frame must be an intensity from 0 to 5 or empty, got '17'"):
        len(LabelManifest(path, threshold=2.0, shares=ALL, classed=False))


def test_no_person_is_in_two_splits(faces: Path) -> None:
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}
    parts = {name: LabelManifest(faces, name, shares=shares, seed=1, classed=False) for name in shares}
    rows = list(csv.DictReader(faces.read_text().splitlines()))

    assert torch.equal(torch.cat([part.indices for part in parts.values()]).sort().values, torch.arange(len(rows)))
    for name, part in parts.items():
        assert len(part) == 8 * len(part.groups.unique())
        assert set(part.group_names) == {row["group"] for row in rows if drawn_split(row["group"], shares, 1) == name}
        assert len(part.classes) == 7
        for position in (0, len(part) - 1):
            row = rows[int(part.indices[position])]
            told = [float(row[unit] or "nan") for unit in UNITS]
            assert_close(part.states([position])[0], torch.tensor(told), equal_nan=True)
            image, number = part[position]
            assert row["class"] == ("" if number < 0 else part.classes[number])
            assert_close(image, read_image(faces.parent / row["image"], channels=1).float() / 255)
    states = torch.cat([part.states(range(len(part))) for part in parts.values()])
    assert 0.05 < states.isnan().float().mean() < 0.15
    classed = LabelManifest(faces, shares=ALL)
    assert len(classed) == len(rows) * 7 // 8
    assert (classed.batch(range(len(classed)))[1] >= 0).all()


def test_splits_may_be_named(folder: Path) -> None:
    rows = [
        {"image": f"{number}.png", "class": number % 2, "group": f"p{number // 2}", "AU1": 0, "split": split}
        for number, split in enumerate(["train", "train", "late", "late", "test", "test"])
    ]
    path = listed(folder / "list.csv", rows)

    assert LabelManifest(path, "late").indices.tolist() == [2, 3]
    with pytest.raises(
        ValueError, match=r"split must be one that holds images, got 'no': .*\['late', 'test', 'train'\]"
    ):
        len(LabelManifest(path, "no"))
    pairs = {name: LabelManifest(path, name, size=(8, 8)) for name in ("train", "late", "test")}
    assert ChangedPairs(pairs, SpatialChange()).plan().clean_rows == 6  # type: ignore[arg-type]
    two = listed(folder / "two.csv", [{**row, "split": "test" if row["group"] == "p2" else "train"} for row in rows])
    shares = {"train": 0.5, "validation": 0.5}
    drawn = {seed: [drawn_split(group, shares, seed) for group in ("p0", "p1")] for seed in range(8)}
    assert len({tuple(splits) for splits in drawn.values()}) > 2
    for seed, splits in drawn.items():
        for split in set(splits):
            groups = LabelManifest(two, split, shares=shares, seed=seed).group_names
            assert groups == tuple(f"p{n // 2}" for n in range(4) if splits[n // 2] == split)


def test_classes_that_are_numbers_are_ordered_by_size(folder: Path) -> None:
    rows = [{"image": f"{n}.png", "class": kind, "AU1": 1} for n, kind in enumerate(["10", "2", "2.0", "7"])]
    source = LabelManifest(listed(folder / "list.csv", rows), shares=ALL)

    assert source.classes == ("2", "7", "10")
    assert source.batch(range(4))[1].tolist() == [2, 0, 0, 1]


def test_images_are_read_when_asked_for_and_named_where_they_cannot_be(folder: Path) -> None:
    (folder / "1.png").write_text("no image")
    rows = [{"image": f"{number}.png", "class": "a", "AU1": 1} for number in range(3)]
    source = LabelManifest(listed(folder / "list.csv", rows), shares=ALL)

    before = source.state
    assert len(source) == 3
    assert source.batch([0, 2])[0].shape == (2, 1, 64, 64)
    with pytest.raises(ImageError, match=r"1\.png cannot be read"):
        source.batch([0, 1])
    Image.new("L", (20, 20)).save(folder / "1.png")
    assert LabelManifest(source.path, shares=ALL).state != before
    assert LabelManifest(folder / "absent.csv").split == "train"  # a recipe may be checked where data are missing


def test_images_without_any_state_are_refused_or_left_out(folder: Path) -> None:
    rows = [{"image": f"{n}.png", "class": "a", "AU1": state} for n, state in enumerate([1, None, 0, None])]
    path = listed(folder / "list.csv", rows)

    with pytest.raises(ValueError, match="known state for each image, got none in line 3, 5: drop_unlabelled"):
        len(LabelManifest(path, shares=ALL))
    assert LabelManifest(path, shares=ALL, drop_unlabelled=True).indices.tolist() == [0, 2]
    many = [{"image": f"many/{n}.png", "class": "a", "AU1": None} for n in range(12)]
    (folder / "many").mkdir()
    for row in many:
        picture(8, 8).save(folder / str(row["image"]))
    with pytest.raises(ValueError, match=r"got none in line 2, 3, .*, 11, … \(12 lines\)"):
        len(LabelManifest(listed(folder / "many.csv", many), shares=ALL))


HEAD = "image,class,AU1\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", HEAD, r"must end in \.csv or \.jsonl"),
        ("p.csv", HEAD, "at least one image"),
        ("p.csv", "image,class\n0.png,a", "columns of labels, got image, class: all missing"),
        ("p.csv", "image,AU1,AU1\n0.png,1,1", "must name each column once, got image, AU1, AU1"),
        ("p.csv", HEAD + "0.png,a", "line 2, must have as many values as .*, got nothing for 'AU1'"),
        ("p.csv", HEAD + "0.png,a,1,0", "line 2, must have as many values as .* for none"),
        ("p.csv", ",image,AU1\n0,0.png,1", "line 2, must have as many values as .* got '0' for none"),
        ("p.csv", HEAD + "0.png,a,1\n,a,1", "line 3, must name a file in a column 'image'"),
        ("p.csv", HEAD + "0.png,a,yes", "line 2: AU1 must be 0, 1 or empty, got 'yes'"),
        ("p.csv", HEAD + "0.png,a,-1", "line 2: AU1 must be 0, 1 or empty, got '-1'"),
        ("p.jsonl", '{"image": "0.png", "class": "a", "AU1": true}', "line 1: AU1 must be 0, 1 or empty, got True"),
        ("p.jsonl", '{"image": "0.png", "class": "a", "AU1": [1]}', r"line 1: AU1 must be 0, 1 or empty, got \[1\]"),
        ("p.jsonl", '{"image": 1.5, "class": "a", "AU1": 1}', "line 1: image must be text or a whole number, got 1.5"),
        ("p.csv", HEAD + "0.png,1.5,1", "line 2: class must be a whole number or the name of a class, got 1.5"),
        ("p.csv", HEAD + "0.png,,1", "must list images with a class and a known state, got none: classed=False"),
        ("p.csv", HEAD + "0.png,a,1\nx/../0.png,a,0", r"each image once, got 0\.png in lines 2 and 3"),
        ("p.csv", HEAD + "9.png,a,1", r"got 1 that are missing: 9\.png \(line 2\)"),
        ("p.csv", HEAD + "../0.png,a,1", r"line 2: \.\./0\.png leads out of the root"),
        ("p.csv", "image,class,split,AU1\n0.png,a,train,1\n1.png,a,,1", "split in all lines or in none, .* line 3"),
        (
            "p.csv",
            "image,class,group,split,AU1\n0.png,a,p,train,1\n1.png,a,p,test,1",
            r"each group into one split, got 'p' in 'train' \(line 2\) and 'test' \(line 3\)",
        ),
    ],
)
def test_faults_of_a_list_are_named(folder: Path, name: str, content: str, message: str) -> None:
    (folder / "x").mkdir()
    (folder / name).write_text(content)

    with pytest.raises(ValueError, match=message):
        len(LabelManifest(folder / name, shares=ALL))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 2}, "channels must be 1"),
        ({"shares": {"train": 0.5}}, "shares must be 0 or more and sum to 1"),
        ({"labels": []}, "labels must be names of columns"),
        ({"labels": ["AU1", "AU1"]}, "labels must be names of columns, each once"),
        ({"labels": ["group"]}, "none of image, class, split, group"),
        ({"threshold": 0.0}, "threshold must be an intensity above 0"),
        ({"threshold": 6.0}, r"at most the highest \(5\), got 6"),
        ({"threshold": math.nan}, "threshold must be"),
        ({"highest": math.inf}, "highest must be a finite"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelManifest("list.csv", **arguments)


def test_a_label_that_no_column_has_is_named(faces: Path) -> None:
    with pytest.raises(ValueError, match=r"must have columns of labels, got image, class, .*: AU99 missing"):
        len(LabelManifest(faces, labels=["AU1", "AU99"]))
