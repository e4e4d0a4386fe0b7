from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cvae.files import append, atomic_file, atomic_files, atomic_folder, read_tensors


def test_file_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "a" / "file"
    with atomic_file(target) as temporary:
        temporary.write_text("first")
    with pytest.raises(ZeroDivisionError), atomic_file(target) as temporary:
        temporary.write_text(str(1 // 0))

    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / name).write_text(name)
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as temporary:
        (temporary / "three").write_text(str(1 // 0))

    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path, full_disk: Any) -> None:
    with (
        pytest.raises(OSError, match=r"the file-size limit\) is full"),
        atomic_file(tmp_path / "big") as temporary,
        full_disk(1000),
    ):
        temporary.write_bytes(bytes(5000))

    assert list(tmp_path.iterdir()) == []


def save(made: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(5000)}, made)


def in_a_file(path: Path) -> None:
    with atomic_file(path) as made:
        save(made)


def in_files(path: Path) -> None:
    with atomic_files(path) as made:
        save(made / "former")


def in_a_folder(path: Path) -> None:
    with atomic_folder(path) as made:
        save(made / "former")


def at_the_end(path: Path) -> None:
    append(path / "former", "x" * 5000)


@pytest.mark.parametrize("write", [in_a_file, in_files, in_a_folder, at_the_end])
def test_full_disk_is_named_whoever_meets_it_and_keeps_what_was_there(
    tmp_path: Path, write: Callable[[Path], None], full_disk: Any
) -> None:
    target = tmp_path / "target"
    if write is not in_a_file:
        target.mkdir()
        (target / "former").write_text("whole")
    with pytest.raises(OSError, match=rf"could not write {target}.*limit\) is full") as caught, full_disk(1000):
        write(target)

    assert caught.value.errno == errno.EFBIG
    kept = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert kept == ({"target", "target/former"} if target.exists() else set())
    if target.exists():
        assert (target / "former").read_text() == "whole"


def test_files_join_those_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "one").write_text("former")
    with atomic_files(tmp_path) as made:
        (made / "one").write_text("one")
        (made / "two").write_text("two")
    with pytest.raises(ZeroDivisionError), atomic_files(tmp_path) as made:
        (made / "one").write_text(str(1 // 0))

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "other": "other",
        "one": "one",
        "two": "two",
    }


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_written_is_as_open_as_any_new_file(tmp_path: Path, mask: int) -> None:
    former = os.umask(mask)
    try:
        in_a_file(tmp_path / "file")
        (tmp_path / "files").mkdir()
        in_files(tmp_path / "files")
        in_a_folder(tmp_path / "folder")
    finally:
        os.umask(former)

    for path in [tmp_path / "file", *tmp_path.glob("files/*"), *tmp_path.glob("folder/*")]:
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask, path
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_file_that_may_not_be_read_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_file(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(PermissionError, match=r"there but may not be read.*file'"):
        read_tensors(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none")
