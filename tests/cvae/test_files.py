from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cvae.files import atomic_file, atomic_files, atomic_folder


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


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from cvae.files import atomic_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with atomic_file(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(bytes(5000))
"""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "big"], capture_output=True, text=True, check=False)

    assert "the file-size limit) is full" in done.stderr
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, signal, sys
from pathlib import Path
import torch, safetensors.torch
from cvae.files import append, atomic_file, atomic_files, atomic_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, tensors = Path(sys.argv[1]), {"a": torch.zeros(5000)}
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""


@pytest.mark.parametrize(
    "write",
    [
        "with atomic_file(path) as made: safetensors.torch.save_file(tensors, made)",
        "with atomic_files(path) as made: safetensors.torch.save_file(tensors, made / 'former')",
        "with atomic_folder(path) as made: safetensors.torch.save_file(tensors, made / 'former')",
        "append(path / 'former', 'x' * 5000)",
    ],
)
def test_full_disk_is_named_whoever_meets_it_and_keeps_what_was_there(tmp_path: Path, write: str) -> None:
    target = tmp_path / "target"
    if "atomic_file(" not in write:
        target.mkdir()
        (target / "former").write_text("whole")
    done = subprocess.run([sys.executable, "-c", FULL + write, target], capture_output=True, text=True, check=False)

    assert f"OSError: [Errno 27] could not write {target}" in done.stderr
    assert "the file-size limit) is full" in done.stderr
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
