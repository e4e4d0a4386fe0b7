from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cvae.files import atomic_file, atomic_folder


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
