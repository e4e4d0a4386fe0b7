"""Pairs from folders, lists and scenes: what is matched, what is refused, and what a bad file does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from augment import ImageFolder, Manifest, PairedFolders, PairSource, PairStore, Scenes, read_image, write_pairs
from augment.splits import drawn_split
from tests.augment.bad_files import BAD, GOOD, picture


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Six clean PNG files in two folders, and JPEG partners under the same names."""
    for number in range(6):
        for kind, suffix in (("clean", "png"), ("rain", "jpg")):
            path = tmp_path / kind / f"scene{number % 2}" / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed=number + 100 * (kind == "rain")).save(path)
    return tmp_path


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two scenes, of four lights and of three."""
    for name, lights in (("attic", (0, 1, 2, 24)), ("cellar", (0, 1, 24))):
        (tmp_path / name).mkdir()
        for light in lights:
            picture(seed=light).save(tmp_path / name / f"dir_{light}_mip2.png")
        (tmp_path / name / "dir_0_chrome256.png").touch()
    return tmp_path


def listed(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a list of pairs in the kind that its name says."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return path
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
    path.write_text("\n".join(lines))
    return path


def test_folders_are_matched_by_name(folders: Path) -> None:
    pairs = PairedFolders(folders / "clean", folders / "rain")
    assert isinstance(pairs, PairSource)

    written = write_pairs(folders / "p.h5", pairs)

    store = PairStore(written.path)
    clean, changed, source, label = store.batch(range(6))
    names = ["scene0/0", "scene0/2", "scene0/4", "scene1/1", "scene1/3", "scene1/5"]
    for row, name in enumerate(names):
        assert_close(clean[row], read_image(folders / "clean" / f"{name}.png"))
        assert_close(changed[row], read_image(folders / "rain" / f"{name}.jpg"))
    assert source.tolist() == list(range(6))
    assert label.tolist() == [-1] * 6
    assert store.conditions == ("rain",)
    assert store.splits == ("train", "validation", "test")
    assert written.pairs == 6


def test_several_changed_folders_are_conditions_and_share_the_clean_image(folders: Path) -> None:
    shutil.copytree(folders / "rain", folders / "snow")
    pairs = PairedFolders(
        folders / "clean", {"rain": folders / "rain", "snow": folders / "snow"}, size=(16, 16), channels=1
    )

    written = write_pairs(folders / "p.h5", pairs)

    store = PairStore(written.path, conditions=["snow"])
    assert (written.pairs, written.images, len(store), store.shape) == (12, 18, 6, (1, 16, 16))
    assert_close(store[1].clean, read_image(folders / "clean/scene0/2.png", channels=1, size=(16, 16)))


def test_folders_that_do_not_match_list_ten_orphans_of_each_side(folders: Path) -> None:
    for number in range(12):
        picture().save(folders / "clean" / f"lonely{number:02}.png")
    (folders / "rain" / "scene0" / "0.jpg").rename(folders / "rain" / "scene0" / "zero.jpg")

    with pytest.raises(ValueError, match="must hold images of the same names") as caught:
        PairedFolders(folders / "clean", folders / "rain").plan()

    message = str(caught.value)
    assert f"13 in {folders / 'clean'} have no partner: lonely00.png, lonely01.png" in message
    assert "lonely09.png, …" in message
    assert "lonely10.png" not in message
    assert f"1 in {folders / 'rain'} have no partner: scene0/zero.jpg" in message


def test_one_name_may_not_stand_twice(folders: Path) -> None:
    picture().save(folders / "clean" / "scene0" / "0.bmp")
    with pytest.raises(ValueError, match=r"one image of each name, got scene0/0\.bmp and scene0/0\.png"):
        PairedFolders(folders / "clean", folders / "rain").plan()


def test_splits_come_from_folders_or_from_names_that_no_other_file_moves(tmp_path: Path) -> None:
    for kind in ("clean", "dark"):
        for number in range(60):
            path = tmp_path / kind / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            picture(8, 8).save(path)
    few = PairedFolders(tmp_path / "clean", tmp_path / "dark", shares={"train": 0.5, "test": 0.5}).plan()
    before = {f"{number}": few.split[row] for row, number in enumerate(sorted(range(60), key=str))}
    for kind in ("clean", "dark"):
        picture(8, 8).save(tmp_path / kind / "0a.png")
    more = PairedFolders(tmp_path / "clean", tmp_path / "dark", shares={"train": 0.5, "test": 0.5}).plan()
    after = {f"{number}": more.split[row] for row, number in enumerate(sorted([*map(str, range(60)), "0a"]))}

    assert {name: split for name, split in after.items() if name != "0a"} == before
    assert 15 < sum(before.values()) < 45
    for kind in ("clean", "dark"):
        for split in ("train", "test"):
            (tmp_path / "named" / kind / split).mkdir(parents=True)
            shutil.copy(tmp_path / kind / "3.png", tmp_path / "named" / kind / split / f"{split}.png")
    named = PairedFolders(tmp_path / "named/clean", tmp_path / "named/dark").plan()
    assert (named.splits, named.split.tolist()) == (("train", "test"), [1, 0])
    for kind in ("clean", "dark"):
        picture(8, 8).save(tmp_path / "named" / kind / "stray.png")
    with pytest.raises(ValueError, match=r"either all files or none must lie in folders named train.*stray\.png"):
        PairedFolders(tmp_path / "named/clean", tmp_path / "named/dark").plan()


def test_folders_of_train_and_test_alone_get_a_validation_part(tmp_path: Path) -> None:
    for split, count in (("train", 60), ("test", 10)):
        for number in range(count):
            for kind in ("clean", "dark"):
                path = tmp_path / kind / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(8, 8).save(path)
            (tmp_path / "scenes" / split / f"{number}").mkdir(parents=True)
            for light in (0, 1):
                picture(8, 8).save(tmp_path / "scenes" / split / f"{number}" / f"dir_{light}.png")
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}
    inner = {"train": 2 / 3, "validation": 1 / 3}
    names = {"test": [f"test/{n}" for n in range(10)], "train": [], "validation": []}
    for number in range(60):
        names[drawn_split(f"train/{number}", inner, 3)].append(f"train/{number}")

    folders = PairedFolders(tmp_path / "clean", tmp_path / "dark", shares=shares, seed=3).plan()
    scenes = Scenes(tmp_path / "scenes", shares=shares, seed=3)
    counts = {split: len(mine) for split, mine in names.items()}

    assert dict(zip(folders.splits, np.bincount(folders.split).tolist(), strict=True)) == counts
    assert 8 < counts["validation"] < 32
    found = {split: sorted(scene.name for scene in scenes.scenes if scene.split == split) for split in counts}
    assert found == {split: sorted(mine) for split, mine in names.items()}
    parts = {split: ImageFolder(split, tmp_path / "clean", size=(8, 8), shares=shares, seed=3) for split in counts}
    indices = [index for part in parts.values() for index in part.indices.tolist()]
    assert sorted(indices) == list(range(70))
    assert len(parts["test"]) == 10
    assert all(path.parts[0] == "train" for path in parts["validation"].paths)
    none = PairedFolders(tmp_path / "clean", tmp_path / "dark", shares={"train": 0.8, "test": 0.2}).plan()
    assert none.splits == ("train", "test")


def test_an_empty_split_names_those_that_hold_pairs(folders: Path) -> None:
    pairs = PairedFolders(folders / "clean", folders / "rain", shares={"train": 1.0, "validation": 0.0, "test": 0.0})
    written = write_pairs(folders / "p.h5", pairs)

    with pytest.raises(ValueError, match=r"'test' of .* holds no pairs: .* that do, \['train'\]"):
        PairStore(written.path, "test")


def test_drawn_splits_have_their_shares() -> None:
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    drawn = [drawn_split(f"scene {number}", shares, seed=3) for number in range(10_000)]

    for split, share in shares.items():  # five standard deviations of a binomial count
        assert abs(drawn.count(split) - 10_000 * share) < 5 * (10_000 * share * (1 - share)) ** 0.5
    with pytest.raises(ValueError, match="shares must be 0 or more and sum to 1"):
        PairedFolders("a", "b", shares={"train": 0.7})


def test_a_folder_is_a_group_if_asked_for(folders: Path) -> None:
    plan = PairedFolders(folders / "clean", folders / "rain", group="folder").plan()

    assert plan.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(set(plan.split[:3])) == len(set(plan.split[3:])) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_store_is_built_from_a_folder_with_every_bad_file(tmp_path: Path, processes: int) -> None:
    for kind in ("clean", "changed"):
        (tmp_path / kind).mkdir()
        for name, write in GOOD.items():
            write(tmp_path / kind / f"good_{name.replace('.', '_')}{Path(name).suffix}")
        for name, (write, _) in BAD.items():
            (write if kind == "changed" else picture().save)(
                tmp_path / kind / f"bad_{name.replace('.', '_')}{Path(name).suffix if kind == 'changed' else '.png'}"
            )
        picture(24, 32 if kind == "clean" else 40).save(tmp_path / kind / "other_size.png")
    (tmp_path / "clean" / "bad_text_png.png").write_text("no image on either side")
    pairs = PairedFolders(tmp_path / "clean", tmp_path / "changed")

    written = write_pairs(tmp_path / "p.h5", pairs, processes=processes, batch=3)

    assert written.pairs == len(GOOD) == len(PairStore(written.path))
    assert len(written.skipped) == len(BAD) + 1
    for reason in [reason for _, reason in BAD.values()]:
        assert any(reason in told for told in written.skipped)
    (size,) = [told for told in written.skipped if "one size" in told]
    assert all(words in size for words in ("24×32 in", "clean/other_size.png", "24×40 in", "changed/other_size.png"))
    with pytest.raises(ValueError, match=r"strict: .*bad_"):
        write_pairs(tmp_path / "p.h5", pairs, strict=True)


def test_two_sizes_need_a_size(folders: Path) -> None:
    for kind, suffix in (("clean", "png"), ("rain", "jpg")):
        picture(40, 40).save(folders / kind / "scene1" / f"5.{suffix}")
    with pytest.raises(ValueError, match=r"one size, got 40×40 in .*5\.png and 24×32 in .*0\.png: give size="):
        write_pairs(folders / "p.h5", PairedFolders(folders / "clean", folders / "rain"))

    written = write_pairs(folders / "p.h5", PairedFolders(folders / "clean", folders / "rain", size=(16, 20)))
    assert PairStore(written.path).shape == (3, 16, 20)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_list_says_what_each_pair_is(folders: Path, suffix: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "clean": f"clean/scene{number % 2}/{number}.png",
            "changed": f"rain/scene{number % 2}/{number}.jpg",
            "label": ("cat", "dog", "ant")[number % 3],
            "group": f"street {number % 2}",
            "condition": "drizzle" if number < 4 else "storm",
            "split": ("train", "late")[number % 2],
        }
        for number in range(6)
    ]
    rows.append({**rows[0], "changed": "rain/scene0/2.jpg", "condition": "storm"})
    path = listed(folders / f"pairs.{suffix}", rows)
    manifest = Manifest(path)

    written = write_pairs(folders / "p.h5", manifest)

    store = PairStore(written.path, "train")
    assert store.splits == ("train", "late")
    assert store.conditions == ("drizzle", "storm")
    assert manifest.classes == ("ant", "cat", "dog")
    clean, changed, source, label = store.batch(range(4))
    assert label.tolist() == [1, 1, 0, 2]  # images 0 (twice), 2 and 4
    assert source.tolist() == [0, 0, 0, 0]
    assert store.condition.tolist() == [0, 1, 0, 1]
    assert_close(clean[1], read_image(folders / "clean/scene0/0.png"))
    assert_close(changed[1], read_image(folders / "rain/scene0/2.jpg"))
    assert written.images == 6 + 7


def test_a_short_list_is_enough(folders: Path) -> None:
    rows = [{"clean": "clean/scene0/0.png", "changed": "rain/scene0/0.jpg", "label": 7}]
    store = PairStore(write_pairs(folders / "p.h5", Manifest(listed(folders / "pairs.csv", rows))).path)

    assert (store.labels.tolist(), store.conditions) == ([7], ("changed",))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_whole_numbers_with_a_point_are_numbers(folders: Path, suffix: str) -> None:
    labels = [10.0, None, 9.0, 2]
    rows: list[dict[str, Any]] = [
        {"clean": f"clean/scene{n % 2}/{n}.png", "changed": f"rain/scene{n % 2}/{n}.jpg"}
        | ({} if label is None else {"label": label})
        for n, label in enumerate(labels)
    ]
    manifest = Manifest(listed(folders / f"pairs.{suffix}", rows))

    store = PairStore(write_pairs(folders / "p.h5", manifest).path)

    assert (store.labels.tolist(), manifest.classes) == ([10, -1, 9, 2], ())
    for wrong in ("1.5", "-0.5", "NaN", "inf"):
        path = listed(folders / "wrong.csv", [rows[0], {**rows[1], "label": wrong}])
        with pytest.raises(ValueError, match=rf"line 3: label must be a whole number or .*, got {wrong}"):
            Manifest(path).plan()


def outside_by_dots(folders: Path) -> str:
    picture().save(folders / "secret.png")
    return "../secret.png"


def outside_by_name(folders: Path) -> str:
    picture().save(folders / "secret.png")
    return str(folders / "secret.png")


def outside_by_link(folders: Path) -> str:
    picture().save(folders / "secret.png")
    (folders / "clean" / "link.png").symlink_to(folders / "secret.png")
    return "link.png"


def outside_by_folder(folders: Path) -> str:
    (folders / "clean" / "link").symlink_to(folders / "rain")
    return "link/scene0/0.jpg"


@pytest.mark.parametrize("make", [outside_by_dots, outside_by_name, outside_by_link, outside_by_folder])
def test_a_list_may_not_lead_out_of_its_root(folders: Path, make: Callable[[Path], str]) -> None:
    rows = [{"clean": "scene0/0.png", "changed": make(folders)}]
    path = listed(folders / "clean" / "pairs.csv", rows)

    with pytest.raises(ValueError, match=r"pairs\.csv, line 2: .* leads out of the root"):
        Manifest(path).plan()
    wider = Manifest(listed(folders / "clean" / "wide.csv", [{**rows[0], "clean": "clean/scene0/0.png"}]), root=folders)
    if make is outside_by_name:
        assert wider.plan().units == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "clean,changed", r"must end in \.csv or \.jsonl"),
        ("p.csv", "clean,changed\n", "at least one pair"),
        ("p.csv", "clean,changde\na.png,b.png", "line 2, .*'changed' is missing; 'changde' is unknown"),
        ("p.csv", "clean,changed\na.png", "'changed' is missing"),
        ("p.csv", "clean,changed\na.png,b.png,c", "'more values than columns' is unknown"),
        ("p.jsonl", '{"clean": "a.png"\n', "line 1, must be JSON"),
        ("p.jsonl", "[1]", "line 1, must be a JSON object, got list"),
        ("p.jsonl", '{"clean": "a.png", "changed": ["b.png"]}', "changed must be text or a whole number"),
        ("p.csv", "clean,changed\na.png,b.png", r"got 2 that are missing: a\.png \(line 2\), b\.png \(line 2\)"),
    ],
)
def test_faults_of_a_list_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(ValueError, match=message):
        Manifest(tmp_path / name).plan()


def test_a_list_that_contradicts_itself_is_refused(folders: Path) -> None:
    one = {"clean": "clean/scene0/0.png", "changed": "rain/scene0/0.jpg", "group": "a", "split": "train"}
    two = {"clean": "clean/scene0/2.png", "changed": "rain/scene0/2.jpg", "group": "a", "split": "test"}
    for rows, message in (
        ([one, two], "splits must not share groups, got group 0 in 'train' and 'test'"),
        ([one, {**one, "label": 3}], "a clean image must have one group, split and label"),
        ([one, {**one, "group": "b"}], r"one group, got 'a' \(line 2\) and 'b' \(line 3\) for clean/scene0/0\.png"),
        ([{**two, "split": ""}, {**one, "clean": two["changed"], "group": "b"}], r"'a' \(line 2\) and 'b' \(line 3\)"),
        (
            [one, {**two, "clean": "rain/../clean/scene0/0.png", "group": ""}],
            r"'a' \(line 2\) and 'clean/scene0/0\.png",
        ),
        ([{**one, "group": ""}, {**two, "clean": one["changed"], "group": ""}], "splits must not share groups"),
        ([one, {**two, "split": ""}], "either all pairs or none must name a split"),
    ):
        with pytest.raises(ValueError, match=message):
            Manifest(listed(folders / "pairs.csv", rows)).plan()


@pytest.mark.parametrize(
    ("lines", "groups", "names"),
    [
        (["1 2", "2 1"], [0, 0], ["1"]),
        (["3 1", "1 5", "2 4"], [0, 0, 1], ["1", "2"]),
        (["1 2", "3 4", "4 2"], [0, 0, 0], ["1"]),  # the third joins the first two
        (["1 2", "x/../1 3", "5 4"], [0, 0], ["1", "5"]),
    ],
)
def test_lines_that_share_a_file_are_one_group(
    tmp_path: Path, lines: list[str], groups: list[int], names: list[str]
) -> None:
    (tmp_path / "x").mkdir()
    for number in range(6):
        picture(seed=number).save(tmp_path / f"{number}.png")
    rows = [dict(zip(("clean", "changed"), (f"{name}.png" for name in line.split()), strict=True)) for line in lines]
    shares = {"train": 0.5, "test": 0.5}

    for seed in range(8):
        plan = Manifest(listed(tmp_path / "pairs.csv", rows), shares=shares, seed=seed).plan()

        expected = [drawn_split(f"{name}.png", shares, seed) for name in names]
        found = {int(group): plan.splits[split] for group, split in zip(plan.group, plan.split, strict=True)}
        assert [found[group] for group in sorted(found)] == expected
    if lines[1].startswith("x"):
        assert plan.clean_rows == 2  # two spellings of one file are stored once
        groups = [0, 1]
    assert plan.group.tolist() == groups


def test_every_image_of_a_scene_pairs_with_every_other(scenes: Path) -> None:
    pairs = Scenes(scenes, shares={"train": 1.0})

    written = write_pairs(scenes / "p.h5", pairs)

    assert (written.pairs, written.images) == (4 * 3 + 3 * 2, 7)
    store = PairStore(written.path)
    assert store.conditions == ("dir_0", "dir_1", "dir_2", "dir_24")
    found = set()
    for row in range(len(store)):
        clean, changed, source, _ = store[row]
        name = ("attic", "cellar")[int(source)]
        one, other = (int(value) for value in store.parameters[row])
        assert store.conditions[int(store.condition[row])] == f"dir_{other}"
        assert_close(clean, read_image(scenes / name / f"dir_{one}_mip2.png"))
        assert_close(changed, read_image(scenes / name / f"dir_{other}_mip2.png"))
        found.add((name, one, other))
    assert len(found) == 18
    assert all(one != other for _, one, other in found)
    # Four different pictures; as an image that pairs start from, that of light 0 is not in the last store.
    assert len(store.digests()) == len(PairStore(written.path, conditions=["dir_0"]).digests()) == 4
    few = Scenes(scenes, lights=[0, 24], shares={"train": 1.0}).plan()
    assert few.parameters.tolist() == [[0, 24], [24, 0]] * 2


def test_a_scene_stays_whole_where_one_image_is_bad(scenes: Path) -> None:
    (scenes / "attic" / "dir_2_mip2.png").write_text("no image")

    written = write_pairs(scenes / "p.h5", Scenes(scenes, shares={"train": 0.5, "test": 0.5}))

    assert (written.pairs, written.images, len(written.skipped)) == (3 * 2 + 3 * 2, 6, 1)
    store = PairStore(written.path)
    assert not (store.parameters == 2).any()


def test_a_scene_lies_in_one_split(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"scene{number}").mkdir()
        for light in (0, 1):
            picture(8, 8).save(tmp_path / f"scene{number}" / f"dir_{light}.png")
    plan = Scenes(tmp_path).plan()

    assert all(len(set(plan.split[plan.group == group])) == 1 for group in range(40))
    assert len(set(plan.split)) > 1


def test_faults_of_scenes_are_named(scenes: Path) -> None:
    picture().save(scenes / "attic" / "dir_0_mip5.png")
    with pytest.raises(ValueError, match=r"one image a light, got dir_0_mip2\.png and dir_0_mip5\.png: choose one"):
        Scenes(scenes).plan()
    assert Scenes(scenes, mip=2).plan().clean_rows == 7
    with pytest.raises(ValueError, match="at least two images to make a pair, got one in attic"):
        Scenes(scenes, mip=5).plan()
    with pytest.raises(ValueError, match="root must hold folders with images named dir_0"):
        Scenes(scenes, mip=7).plan()


def test_the_multi_illumination_sample_makes_600_pairs(root: Path, tmp_path: Path) -> None:
    sample = root.parent / "shared" / "data" / "multi_illumination" / "everett_kitchen2_mip6.npz"
    if not sample.is_file():
        pytest.skip(f"needs the sample in {sample}")
    images = np.load(sample)["images"]
    (tmp_path / "everett_kitchen2").mkdir()
    for light, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "everett_kitchen2" / f"dir_{light}_mip6.png")

    written = write_pairs(tmp_path / "p.h5", Scenes(tmp_path, shares={"train": 1.0}))

    assert (written.pairs, written.images) == (25 * 24, 25)
    assert written.path.stat().st_size < 2 * images.nbytes  # every image is stored once
    store = PairStore(written.path)
    _, changed, *_ = store.batch(range(600))
    lights = store.parameters[:, 1].long()
    assert_close(changed, torch.from_numpy(images).permute(0, 3, 1, 2)[lights])
